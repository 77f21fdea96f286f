"""A machine's side of signed channels, step by step, so that a test can change or repeat each of them."""

import secrets
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from arcgate.net.channel import ChannelTunnel
from arcgate.net.messages import MessageStream
from arcgate.wire.connect import CORRELATION_FIELD
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import ResponseHead
from arcgate.wire.messages import challenge_of, format_upgrade
from arcgate.wire.proofs import PROOF_FIELD, PrivateKey, Statement, sign_proof
from worlds.gateway_node import NAME, Client, connect_request, read_head


@dataclass
class SignedClient:
    """A channel that is open. `requests` counts the CONNECTs that were proven on it."""

    stream: MessageStream
    challenge: str
    key: PrivateKey
    requests: int = 0
    sent: deque[bytes] = field(default_factory=deque)
    """CONNECTs as they were sent."""
    more: dict[str, str] = field(default_factory=dict)
    """Further fields of the CONNECTs."""

    def proof(self, authority: str, correlation: str, *, gateway: str = NAME, ago: int = 0, number: int = 0) -> str:
        statement = Statement(gateway, self.challenge, number or self.requests, authority, correlation)
        return sign_proof(self.key, statement, int(datetime.now(UTC).timestamp()) - ago)

    async def ask(self, authority: str, proof: str | None = None, **options: object) -> ResponseHead:
        """CONNECT with a proof (or the given one), and return the answer's head."""
        self.requests += 1
        correlation = secrets.token_hex(8)
        good = self.proof(authority, correlation, **options)  # type: ignore[arg-type]
        fields = {CORRELATION_FIELD: correlation, FRAMES_FIELD: FRAMES_VERSION, PROOF_FIELD: proof or good, **self.more}
        return await self.send(connect_request(authority, **fields))

    async def send(self, request: bytes) -> ResponseHead:
        """Send bytes as a request, and return the answer's head."""
        self.sent.append(request)
        await self.stream.send(request)
        head, _ = await read_head(self.stream)
        return head

    def tunnel(self) -> ChannelTunnel:
        """Return the tunnel that the last answer has opened."""
        return ChannelTunnel(self.stream, b"", may_hand_over=False)


def key_of(client: Client) -> tuple[PrivateKey, bytes]:
    """Return a client's key, and the DER of its certificate."""
    assert client.certificate is not None
    pem = client.certificate.read_bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    return cast("PrivateKey", load_pem_private_key(pem, None)), certificate.public_bytes(Encoding.DER)


class SignedChannelOpener:
    """Opens signed channels, and closes them with the block."""

    def __init__(self) -> None:
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> "SignedChannelOpener":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def upgrade(
        self, client: Client, certificate: bytes | None
    ) -> tuple[MessageStream | None, ResponseHead, str]:
        """Ask for a channel over TLS without a client certificate; return stream and challenge if there is one."""
        tls = await Client(client.node, None, "", "").open()
        self._opened.push_async_callback(tls.close)
        nonce = secrets.token_bytes(16)
        await tls.send(format_upgrade(NAME, nonce, certificate))
        head, rest = await read_head(tls)
        if head.status != 101:
            return None, head, ""
        return MessageStream(tls, rest, is_client=True), head, challenge_of(head, nonce)

    async def open(self, client: Client) -> SignedClient:
        """Open a signed channel for a machine."""
        key, certificate = key_of(client)
        stream, head, challenge = await self.upgrade(client, certificate)
        assert stream is not None, head
        return SignedClient(stream, challenge, key)
