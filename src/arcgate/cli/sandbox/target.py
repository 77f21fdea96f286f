"""A small HTTPS server that counts every byte on its connections, for comparing with audit records."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from arcgate.net.files import write_file
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import ByteStream, SocketStream, StreamReset
from arcgate.net.tls import TlsStream, server_context

LARGEST_HEAD = 16 * 1024
TIMEOUT = 20.0
"""Seconds for one exchange."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(?P<length>[0-9]{1,9})\r\n", re.IGNORECASE)
_DOWNLOAD = re.compile(rb"GET /(?P<size>[0-9]{1,9}) ")


@dataclass(slots=True)
class Counted:
    """Bytes of one connection as they were on the wire, TLS included."""

    received: int = 0
    sent: int = 0


class CountingStream:
    """A stream that counts what passes."""

    def __init__(self, inner: ByteStream, counted: Counted) -> None:
        self._inner = inner
        self._counted = counted

    @property
    def peer(self) -> str:
        """See ByteStream."""
        return self._inner.peer

    async def receive(self) -> bytes:
        """See ByteStream."""
        data = await self._inner.receive()
        self._counted.received += len(data)
        return data

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        await self._inner.send(data)
        self._counted.sent += len(data)

    async def end(self) -> None:
        """See ByteStream."""
        await self._inner.end()

    def abort(self) -> None:
        """See ByteStream."""
        self._inner.abort()

    async def close(self) -> None:
        """See ByteStream."""
        await self._inner.close()


class CountingTarget:
    """`GET /N` answers N bytes; any other method reads a body of Content-Length bytes. One request a connection."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.ca_file, chain, key = issue(folder, name)
        self.ca_pem = self.ca_file.read_text(encoding="ascii")
        self.connections: list[Counted] = []
        self._context = server_context(chain, key)
        self._socket = listen("127.0.0.1", 0)
        self._listener = Listener([self._socket], self._serve)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to serve."""
        self._listener.start()

    async def stop(self) -> None:
        """Serve no more."""
        await self._listener.stop(1)

    async def _serve(self, accepted: SocketStream) -> None:
        counted = Counted()
        self.connections.append(counted)
        stream = TlsStream(CountingStream(accepted, counted), self._context, server_side=True)
        try:
            async with asyncio.timeout(TIMEOUT):
                await stream.handshake()
                await _answer(stream)
                await stream.end()
                while await stream.receive():
                    pass
        except (StreamReset, OSError, TimeoutError):
            pass  # the figures tell
        finally:
            await accepted.close()


async def _answer(stream: ByteStream) -> None:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < LARGEST_HEAD:
        more = await stream.receive()
        if not more:
            return
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    missing = (int(length["length"]) if length else 0) - len(rest)
    while missing > 0 and (more := await stream.receive()):
        missing -= len(more)
    asked = _DOWNLOAD.match(head)
    body = bytes(int(asked["size"])) if asked else b""
    fields = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode("ascii")
    await stream.send(b"HTTP/1.1 200 OK\r\n" + fields + body)


@asynccontextmanager
async def counting_target(folder: Path, name: str) -> AsyncIterator[CountingTarget]:
    """A running target, with its files in the folder."""
    target = CountingTarget(folder, name)
    target.start()
    try:
        yield target
    finally:
        await target.stop()


def issue(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Make an authority and a certificate of it for one name; return the files of authority, chain and key."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the sandbox's target")])
    ca = _builder(authority, authority, ca_key.public_key())
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(_usage(signs=True), critical=True)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    leaf = _builder(x509.Name([]), authority, key.public_key())
    leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_usage(signs=False), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = leaf.add_extension(identifier, critical=False)
    files = folder / "target-ca.pem", folder / "target.pem", folder / "target.key"
    pem = serialization.Encoding.PEM
    write_file(files[0], ca.sign(ca_key, hashes.SHA256()).public_bytes(pem), 0o644)
    write_file(files[1], leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem), 0o644)
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_file(files[2], private)
    return files


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
