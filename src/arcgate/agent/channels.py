"""Channels: TLS connections from this machine to a gateway, ready for a CONNECT.

Each `acquire` opens a fresh one. Whoever acquires a channel owns it; keeping warm ones ready is this class's own affair
and changes nothing for its callers.
"""

import asyncio
import re

from arcgate.agent.hops import Hops
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.errors import Hop, HopError
from arcgate.net.dialer import ConnectRefused, start_tls
from arcgate.net.streams import StreamReset
from arcgate.net.tls import TlsStream

LAST_WORDS = 0.5
"""Seconds that we look for the reason of a broken channel."""

_ALERT = re.compile(r"(?:ALERT[_ ](?P<name>[A-Z_ ]+)|UNRECOGNIZED[_ ]NAME)", re.IGNORECASE)

_RENEW = "Check the machine's clock; restart himdsd, which renews the certificate, or run 'azcmagent disconnect' and "
_REMEDIES = {
    "CERTIFICATE_EXPIRED": _RENEW + "'azcmagent connect'.",
    "CERTIFICATE_REVOKED": "Run 'azcmagent disconnect' and 'azcmagent connect' on the machine.",
    "UNKNOWN_CA": "The certificate is another cloud's: compare the gateway of 'azcmagent show', and connect again.",
    "CERTIFICATE_REQUIRED": "Run 'azcmagent connect': this machine has no certificate.",
    "UNRECOGNIZED_NAME": "Compare the gateway URL of 'azcmagent show' with the operator's list of gateways.",
}
_OTHER_REMEDY = "Run 'azcmagent disconnect' and 'azcmagent connect' on the machine to get a fresh certificate."
_CERTIFICATE_ALERTS = frozenset(
    {
        "BAD_CERTIFICATE",
        "UNSUPPORTED_CERTIFICATE",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_UNKNOWN",
        "CERTIFICATE_REQUIRED",
        "UNKNOWN_CA",
        "DECRYPT_ERROR",
        "ACCESS_DENIED",
    }
)


class GatewayChannels:
    """Gives channels to gateways, by the enterprise proxy where one is set."""

    def __init__(self, hops: Hops) -> None:
        self._hops = hops

    async def acquire(
        self, gateway: GatewayPlace, surroundings: Surroundings, *, with_certificate: bool = True
    ) -> TlsStream:
        """Return a channel that is the caller's own; raises HopError (DNS, TCP, PROXY, GATEWAY or TLS)."""
        certificate = surroundings.certificate if with_certificate else None
        context = self._hops.trust.gateways(surroundings.ca_pem, certificate)
        stream = await self._hops.towards(gateway.dialled, surroundings)
        try:
            return await start_tls(stream, context, gateway.host, surroundings.timeouts.handshake)
        except HopError as error:
            await stream.close()
            raise explain(error, gateway) from None
        except BaseException:
            await stream.close()
            raise


def explain(error: HopError, gateway: GatewayPlace) -> HopError:
    """Return the error, in words of its own when it is a TLS alert of the gateway's."""
    match = _ALERT.search(error.cause)
    if match is None or isinstance(error, ConnectRefused):
        return error
    name = (match["name"] or "unrecognized name").strip().replace(" ", "_").upper()
    words = name.replace("_", " ").lower()
    if name in _CERTIFICATE_ALERTS:
        sentence = f"The gateway {gateway.name} refused this machine's certificate."
        remedy = _REMEDIES.get(name, _OTHER_REMEDY)
        return HopError(Hop.GATEWAY, "GATEWAY_REFUSED_CERTIFICATE", sentence, cause=words, remedy=remedy)
    if name == "UNRECOGNIZED_NAME":
        sentence = f"No gateway of the name {gateway.host} is known there."
        return HopError(Hop.GATEWAY, "GATEWAY_UNKNOWN", sentence, cause=words, remedy=_REMEDIES[name])
    return error


async def last_words(channel: TlsStream) -> str:
    """Return the alert that a broken channel still holds, or an empty string.

    A gateway that refuses our certificate says so after our handshake: the CONNECT that is under way meets a reset, and
    the alert stays unread.
    """
    try:
        async with asyncio.timeout(LAST_WORDS):
            await channel.receive()
    except StreamReset as error:
        return str(error)
    except TimeoutError:
        pass
    return ""
