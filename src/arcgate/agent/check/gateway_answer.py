"""What a gateway tells a check: that it has accepted our certificate, and which one is its own."""

import contextlib
import json
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256

from arcgate.agent.channels import explain, last_words
from arcgate.agent.presented import describe, intercepted, parse
from arcgate.agent.surroundings import GatewayPlace
from arcgate.core.errors import Hop, HopError
from arcgate.core.verdicts import EXPLANATIONS, Reason
from arcgate.net.streams import StreamReset
from arcgate.net.tls import TlsStream
from arcgate.wire.heads import HeadError, ResponseReader
from arcgate.wire.messages import CHANNEL_PATH

LARGEST_DESCRIPTION = 16 * 1024
"""Bytes that a gateway may say of itself."""


async def hear(channel: TlsStream, gateway: GatewayPlace) -> dict[str, Any]:
    """Ask a gateway about itself: only an answer shows that it has accepted our certificate (TLS 1.3).

    Returns what it tells of its own certificate; nothing, if it has got ours.
    """
    reader = ResponseReader()
    try:
        await channel.send(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (CHANNEL_PATH, gateway.host.encode("ascii"))
        )
        while reader.feed(await _some(channel)) is None:
            pass
        return await _document(channel, reader.rest)
    except (StreamReset, HeadError) as error:
        cause = await last_words(channel) or str(error) if isinstance(error, StreamReset) else str(error)
        failure = HopError(
            Hop.GATEWAY,
            "GATEWAY_FAILED",
            f"{gateway.name} does not answer as a gateway.",
            cause=cause,
            remedy="Check the gateway URL, and that the gateway is running.",
        )
        raise explain(failure, gateway) from None


async def _document(channel: TlsStream, body: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer's body, an empty one for another body."""
    with contextlib.suppress(StreamReset):
        while len(body) < LARGEST_DESCRIPTION and (data := await channel.receive()):
            body += data
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def judge(told: dict[str, Any], channel: TlsStream, gateway: GatewayPlace, *, is_inspected: bool) -> None:
    """Raise HopError when the certificate that came is not the gateway's, unless signed channels make up for it."""
    if is_inspected:
        if told.get("signedChannels") is False:
            why = EXPLANATIONS[Reason.SIGNED_CHANNEL_NOT_ALLOWED]
            raise HopError(Hop.GATEWAY, "SIGNED_CHANNEL_NOT_ALLOWED", why.sentence, remedy=why.remedy)
        return
    certificate = parse(channel.tls.getpeercert(binary_form=True))
    own = told.get("certificateSha256")
    if certificate is None or not isinstance(own, str) or own == certificate.fingerprint(SHA256()).hex():
        return
    # The system's trust store holds the CA of who inspects: the handshake went well, and told nothing.
    cause = "the gateway says that it has shown another certificate"
    raise intercepted(gateway.host, describe(certificate), cause, is_trusted=True)


async def _some(channel: TlsStream) -> bytes:
    data = await channel.receive()
    if not data:
        raise StreamReset("the connection was closed before an answer")
    return data
