"""Signed channels: for machines whose TLS somebody on the path opens, so that no client certificate gets here.

The channel is a WebSocket with a challenge of its own, and each CONNECT on it carries a proof of the machine's key
(`wire.proofs`). The certificate comes with the upgrade; it is public, and worth nothing without a proof.
docs/explanation/inspection.md says what the one in the middle can do, and what not.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from arcgate.core.hand_over import HandOverMode
from arcgate.core.policy import Policy
from arcgate.core.verdicts import Reason, Verdict
from arcgate.gateway.identity import Certificate, identify
from arcgate.gateway.tunnelling import answer
from arcgate.net.messages import MessageStream
from arcgate.net.streams import ByteStream
from arcgate.wire.connect import ConnectRequest, format_answer, format_refusal, parse_connect
from arcgate.wire.heads import HeadError, RequestHead
from arcgate.wire.messages import asks_for_channel, certificate_of, format_switch
from arcgate.wire.proofs import PROOF_FIELD, ProofError, PublicKey, Statement, can_prove, verify_proof

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What signed channels need of a node's TLS: the certificate that it shows, and whose machines it knows."""

    fingerprint: str
    """SHA-256 of the node's own certificate, lower-case hexadecimal."""
    machine_authorities: Sequence[x509.Certificate]


class Unsuitable(Exception):
    """A certificate that came with an upgrade is not to be used; holds the verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


@dataclass(slots=True)
class SignedChannel:
    """One channel of messages. `certificate` and `key` are None for a client that showed nothing."""

    stream: MessageStream
    gateway: str
    challenge: str
    certificate: Certificate | None
    key: PublicKey | None
    requests: int = 0

    def read(self, head: RequestHead, now: datetime) -> tuple[ConnectRequest, Verdict | None]:
        """Return the CONNECT, and the refusal that its proof earns, if any; raises HeadError."""
        request = parse_connect(head)
        if not request.offers_frames:
            # Without frames only the end of the channel could end a tunnel, and both directions at once.
            raise HeadError(Reason.REQUEST_MALFORMED, "a signed channel needs frames")
        self.requests += 1
        refusal = None if self.key is None else self._check(self.key, head, request, now)
        # Raw bytes are no messages: nothing can be handed over.
        return replace(request, hand_over=HandOverMode.OFF), refusal

    def _check(self, key: PublicKey, head: RequestHead, request: ConnectRequest, now: datetime) -> Verdict | None:
        proofs = head.all(PROOF_FIELD.lower())
        authority = request.target.authority
        statement = Statement(self.gateway, self.challenge, self.requests, authority, request.correlation_id)
        try:
            if len(proofs) != 1:
                raise ProofError("there is none")
            verify_proof(proofs[0], key, statement, now.timestamp())
        except ProofError as error:
            return Verdict(Reason.PROOF_INVALID, detail=f"the proof: {error}")
        return None


class SignedChannels:
    """Takes up signed channels where the gateway allows them; `facts` and `policy` return what is current."""

    def __init__(
        self,
        *,
        facts: Callable[[], NodeFacts],
        policy: Callable[[], Policy],
        gateway_suffix: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._facts = facts
        self._policy = policy
        self._gateway_suffix = gateway_suffix
        self._clock = clock

    async def take_up(self, client: ByteStream, head: RequestHead, rest: bytes, prefix: str) -> SignedChannel | None:
        """Answer a request for the channel's path; return the channel, None when it was refused or only asked about.

        Raises HeadError or StreamReset.
        """
        refusal = self._policy().admit(prefix, None, by_signed_channel=True).refusal
        if not asks_for_channel(head):
            await answer(client, self._description(is_allowed=refusal is None))
            return None
        certificate, key = None, None
        if refusal is None:
            try:
                certificate, key = self._identify(certificate_of(head))
            except Unsuitable as error:
                refusal = error.verdict
        if refusal is not None:
            _log.info("signed channel refused", client=client.peer, gateway=prefix, reason=refusal.reason)
            await answer(client, format_refusal(refusal, ""))
            return None
        challenge = secrets.token_urlsafe(32)
        await client.send(format_switch(head, challenge))
        stream = MessageStream(client, rest, is_client=False)
        return SignedChannel(stream, prefix + self._gateway_suffix, challenge, certificate, key)

    def _description(self, *, is_allowed: bool) -> bytes:
        document = {"certificateSha256": self._facts().fingerprint, "signedChannels": is_allowed}
        return format_answer(200, json.dumps(document).encode("ascii") + b"\n", ())

    def _identify(self, der: bytes | None) -> tuple[Certificate | None, PublicKey | None]:
        """Return whom a certificate names, and its key, as TLS would have found them; raises Unsuitable."""
        if der is None:
            return None, None
        now = self._clock()
        try:
            leaf = x509.load_der_x509_certificate(der)
            if leaf.not_valid_after_utc <= now:
                raise Unsuitable(Verdict(Reason.CERTIFICATE_EXPIRED))
            store = Store(list(self._facts().machine_authorities))
            PolicyBuilder().store(store).time(now).build_client_verifier().verify(leaf, [])
            certificate, key = identify(leaf), leaf.public_key()
        except (VerificationError, ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
            detail = str(error).partition("\n")[0]
            raise Unsuitable(Verdict(Reason.CERTIFICATE_UNSUITABLE, detail=detail)) from None
        if certificate is None or not can_prove(key):
            raise Unsuitable(Verdict(Reason.CERTIFICATE_UNSUITABLE))
        return certificate, key  # type: ignore[return-value]
