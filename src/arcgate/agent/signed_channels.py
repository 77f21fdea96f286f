"""Signed channels: the second way to a gateway, where the enterprise opens TLS and an admin trusts its CA on purpose.

It is taken by itself, and only then: the chain that came is that of `inspection.ca`. The channel is a WebSocket then,
and each CONNECT carries a proof of the machine's key (`wire.proofs`).
"""

import secrets
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from arcgate.agent.hops import Hops
from arcgate.agent.presented import describe, is_issued_by, parse
from arcgate.agent.surroundings import GatewayPlace, Surroundings
from arcgate.core.errors import Hop, HopError, StateError
from arcgate.core.names import Target
from arcgate.net.dialer import ConnectAnswer, ask, refused_connect, start_tls
from arcgate.net.messages import MessageStream
from arcgate.net.streams import ByteStream
from arcgate.net.tls import TlsStream
from arcgate.wire.heads import SWITCHING_PROTOCOLS, Fields
from arcgate.wire.messages import MessageError, challenge_of, format_upgrade
from arcgate.wire.proofs import PROOF_FIELD, PrivateKey, Statement, sign_proof

CertificateFiles = tuple[Path, Path]
"""Chain and key of the machine."""

_log = structlog.get_logger(__name__)


class Signer:
    """Makes the proofs of one channel, in the order of its CONNECTs."""

    def __init__(self, key: PrivateKey, gateway: str, challenge: str) -> None:
        self._key = key
        self._gateway = gateway
        self._challenge = challenge
        self._requests = 0

    def proof(self, target: Target, correlation_id: str) -> Fields:
        """Return the field that proves the next CONNECT."""
        self._requests += 1
        statement = Statement(self._gateway, self._challenge, self._requests, target.authority, correlation_id)
        return ((PROOF_FIELD, sign_proof(self._key, statement, int(time.time()))),)


@dataclass(frozen=True, slots=True)
class Carrier:
    """What carries a channel: TLS with the machine's certificate, or messages with a signer."""

    stream: TlsStream | MessageStream
    signer: Signer | None = None
    is_signed: bool = False


class Carriers:
    """Opens carriers where an admin has trusted an inspecting CA; remembers which gateways are behind it."""

    def __init__(self, hops: Hops) -> None:
        self._hops = hops
        self._inspected: set[GatewayPlace] = set()

    async def open(
        self,
        gateway: GatewayPlace,
        context: ssl.SSLContext,
        certificate: CertificateFiles | None,
        surroundings: Surroundings,
    ) -> Carrier:
        """Return a carrier to the gateway; `context` is that of channels with the certificate.

        Raises HopError or StateError.
        """
        tls = await self._start_tls(gateway, context, surroundings)
        try:
            if not is_issued_by(tls, surroundings.inspection_ca) and gateway not in self._inspected:
                return Carrier(tls)
            carrier = await upgrade(tls, gateway, certificate, surroundings.timeouts.answer)
        except BaseException:
            await tls.close()
            raise
        if surroundings.ping_interval and isinstance(carrier.stream, MessageStream):
            carrier.stream.keep_alive(surroundings.ping_interval)
        return carrier

    async def _start_tls(
        self, gateway: GatewayPlace, ordinary: ssl.SSLContext, surroundings: Surroundings
    ) -> TlsStream:
        """Return TLS with the gateway, or with what stands in its place and is trusted."""
        inspected = self._hops.trust.inspected(surroundings.inspection_ca)
        first, second = (inspected, ordinary) if gateway in self._inspected else (ordinary, inspected)
        try:
            tls = await self._shake(gateway, first, surroundings)
            chosen = first
        except HopError as error:
            if error.code != "TLS_CERTIFICATE_REFUSED" or error.hop is not Hop.TLS:
                raise
            tls = await self._shake(gateway, second, surroundings)
            chosen = second
        self._note(gateway, tls, is_inspected=chosen is inspected)
        return tls

    async def _shake(self, gateway: GatewayPlace, context: ssl.SSLContext, surroundings: Surroundings) -> TlsStream:
        stream: ByteStream = await self._hops.towards(gateway.dialled, surroundings)
        try:
            return await start_tls(stream, context, gateway.host, surroundings.timeouts.handshake)
        except BaseException:
            await stream.close()
            raise

    def _note(self, gateway: GatewayPlace, tls: TlsStream, *, is_inspected: bool) -> None:
        if is_inspected and gateway not in self._inspected:
            self._inspected.add(gateway)
            certificate = parse(tls.tls.getpeercert(binary_form=True))
            shown = str(describe(certificate)) if certificate is not None else ""
            _log.info("TLS is inspected on the way to the gateway; channels are signed", gateway=gateway.name, by=shown)
        elif not is_inspected and gateway in self._inspected:
            self._inspected.discard(gateway)
            _log.info("TLS is not inspected any more on the way to the gateway", gateway=gateway.name)


async def upgrade(tls: TlsStream, gateway: GatewayPlace, certificate: CertificateFiles | None, limit: float) -> Carrier:
    """Open a signed channel on TLS that somebody else has opened; raises HopError (GATEWAY) or StateError.

    The caller closes `tls` on failure.
    """
    key, der = _read(certificate) if certificate is not None else (None, None)
    nonce = secrets.token_bytes(16)
    request = format_upgrade(gateway.host, nonce, der)
    answer = await ask(tls, request, limit, Hop.GATEWAY, gateway.name, "the upgrade", has_body=False)
    if answer.status != SWITCHING_PROTOCOLS:
        raise _refused(gateway, answer)
    try:
        challenge = challenge_of(answer.head, nonce)
    except MessageError as error:
        raise _not_passed(gateway, str(error)) from None
    signer = Signer(key, gateway.host, challenge) if key is not None else None
    return Carrier(MessageStream(tls, answer.body, is_client=True), signer, is_signed=True)


def _refused(gateway: GatewayPlace, answer: ConnectAnswer) -> HopError:
    if not answer.refusal.code:
        return _not_passed(gateway, f"the answer was {answer.status} {answer.head.phrase}")
    error = refused_connect(Hop.GATEWAY, gateway.name, gateway.dialled, answer)
    error.hop = Hop.GATEWAY
    return error


def _not_passed(gateway: GatewayPlace, cause: str) -> HopError:
    return HopError(
        Hop.GATEWAY,
        "SIGNED_CHANNEL_FAILED",
        f"No signed channel to {gateway.name} could be opened through the proxy that inspects TLS.",
        cause=cause,
        remedy="Let the proxy pass WebSockets (Upgrade: websocket) to this name, or exempt the name from inspection.",
    )


def _read(files: CertificateFiles) -> tuple[PrivateKey, bytes]:
    chain, key_file = files
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        der = x509.load_pem_x509_certificate(chain.read_bytes()).public_bytes(Encoding.DER)
    except (OSError, ValueError, TypeError) as error:
        # Reasons of the operating system only: a parser's might quote the file.
        cause = (error.strerror or "") if isinstance(error, OSError) else "it is not readable as PEM"
        raise StateError("TLS_FILE_UNUSABLE", f"{chain} with {key_file} can't be used.", cause=cause) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise StateError("TLS_FILE_UNUSABLE", f"{key_file} can't sign.", cause="it is neither an RSA nor an EC key")
    return key, der
