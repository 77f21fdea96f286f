"""TLS over any ByteStream, by `ssl.MemoryBIO`: half-closes survive, TLS nests in TLS, memory stays small.

Both ends of a direction are told apart: `end` sends close_notify alone and the other direction goes on;
a peer that goes without close_notify has been cut, and that is a StreamReset (RFC 8446 section 6.1).
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from arcgate.core.errors import StateError
from arcgate.net.readiness import Readiness
from arcgate.net.streams import CHUNK, ByteStream, PrefixedStream, PromptStream, SocketStream, StreamReset, close_gently

CARRIER_END = 1.0
"""Seconds that the carrier's peer gets to end its direction as well, so that a clean end isn't taken for a cut."""

SEND_PIECE = 256 * 1024
"""Plain bytes that are encrypted before they are sent; bounds the outgoing buffer."""

MOST_OWN = 128 * 1024
"""Bytes of TLS's own messages in a row; more than any handshake has. A peer that sends nothing else would keep
the loop from everybody, for there is no end to changes of keys."""

_RECORD = 16 * 1024
"""Most plain bytes of one TLS record."""

# Records are decrypted into it and copied out once: see streams.
_plain = memoryview(bytearray(CHUNK + 2 * _RECORD))


class TlsStream(PromptStream):
    """One TLS connection over a ByteStream; call `handshake` before anything else."""

    __slots__ = (
        "_ended",
        "_incoming",
        "_inner",
        "_outgoing",
        "_own",
        "_peer_ended",
        "_ready",
        "_sending",
        "_socket",
        "_tls",
    )

    def __init__(
        self,
        inner: ByteStream,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        if isinstance(inner, PrefixedStream):
            # One layer less for every byte of the connection's life.
            self._incoming.write(inner.take_prefix())
            inner = inner.inner
        self._inner = inner
        self._socket = inner if isinstance(inner, SocketStream) else None
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname, session=session
        )
        self._ready: list[bytes] = []
        self._own = 0
        self._peer_ended = False
        self._ended = False
        self._sending = asyncio.Lock()

    @property
    def peer(self) -> str:
        """See ByteStream."""
        return self._inner.peer

    @property
    def tls(self) -> ssl.SSLObject:
        """The TLS object, for facts about the session."""
        return self._tls

    @property
    def inner(self) -> ByteStream:
        """The stream that the TLS records travel on."""
        return self._inner

    def take_raw(self) -> bytes:
        """Return what has arrived behind the peer's close_notify; call it once `receive` has returned b""."""
        assert self._peer_ended
        return self._incoming.read()

    def free(self) -> None:
        """Let go of the TLS state: both directions have ended, and whoever goes on uses the stream below."""
        assert self._ended
        assert self._peer_ended
        del self._tls, self._incoming, self._outgoing, self._ready, self._sending

    def is_quiet(self) -> bool:
        """Say, without waiting, whether the peer has neither ended nor sent data: the stream can be used again.

        Takes in what TLS sends of its own, session tickets above all.
        """
        if not isinstance(self._inner, SocketStream):
            return False
        try:
            while (data := self._inner.receive_now()) is not None:
                if not data:
                    return False
                self._take(data)
            if not self._incoming.pending:  # nothing came, so there is nothing to look into
                return not self._ready and not self._peer_ended
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return not self._ready and not self._peer_ended
        except (ssl.SSLError, StreamReset):
            return False
        return False

    @property
    def readiness(self) -> Readiness | None:
        """See PromptStream."""
        return self._inner.readiness if isinstance(self._inner, PromptStream) else None

    def receive_now(self) -> bytes | None:
        """See PromptStream."""
        if self._ready:
            return self._ready.pop(0)
        while not self._peer_ended:
            if self._incoming.pending:
                data = self._decrypt()
                if data or self._peer_ended:
                    return data
            came = self._socket.receive_view_now() if self._socket is not None else self._prompt.receive_now()
            if came is None:
                return None
            if not came:
                raise StreamReset("the connection ended without close_notify")
            self._take(came)
        return b""

    def _take(self, came: bytes | memoryview) -> None:
        """Add to what is to be decrypted; `_own` counts it until data comes out."""
        if self._own > MOST_OWN:
            raise StreamReset("the peer sends messages of TLS and no data")
        self._own += len(came)
        self._incoming.write(came)

    def _decrypt(self) -> bytes:
        """Return what the records that have arrived hold; as many at once as fit, for each one sent on costs a call."""
        size = 0
        try:
            while size <= CHUNK + _RECORD and not self._peer_ended:
                # The typing of the library knows bytes only; with a buffer it is the count.
                got = cast("int", self._tls.read(_RECORD, _plain[size:]))
                self._peer_ended = not got
                size += got
                self._own = 0
                if not self._incoming.pending:  # asking on would cost an exception
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._peer_ended = True
        except ssl.SSLError as error:
            raise StreamReset(error.reason or str(error)) from error
        if self._outgoing.pending:  # an answer of TLS's own
            self._prompt.send_now(self._outgoing.read())
        return bytes(_plain[:size])

    def send_now(self, data: bytes) -> bool:
        """See PromptStream."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise StreamReset(error.reason or str(error)) from error
        return self._prompt.send_now(self._outgoing.read())

    def end_now(self) -> bool:
        """See PromptStream; sends close_notify."""
        if not self._ended:
            self._say_end()
        return self._prompt.send_now(self._outgoing.read()) if self._outgoing.pending else self.flush_now()

    def flush_now(self) -> bool:
        """See PromptStream."""
        return self._prompt.flush_now()

    @property
    def _prompt(self) -> PromptStream:
        assert isinstance(self._inner, PromptStream)
        return self._inner

    async def handshake(self) -> None:
        """Shake hands; raises ssl.SSLError (the alert has been sent) or StreamReset."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except ssl.SSLError:
                await self._flush()
                raise
            else:
                await self._flush()
                return

    async def receive(self) -> bytes:
        """See ByteStream."""
        while True:
            if self._ready:
                return self._ready.pop(0)
            if self._peer_ended:
                return b""
            try:
                data = self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._flush_unless_sending()
                await self._feed()
            except ssl.SSLZeroReturnError:
                self._peer_ended = True
            except ssl.SSLError as error:
                # An alert of the peer's comes first in TLS 1.3 after our handshake: a refused certificate.
                raise StreamReset(error.reason or str(error)) from error
            else:
                self._own = 0
                self._peer_ended = not data
                return data

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        view = memoryview(data)
        for start in range(0, len(view), SEND_PIECE):
            async with self._sending:
                try:
                    self._tls.write(view[start : start + SEND_PIECE])
                except ssl.SSLError as error:
                    raise StreamReset(error.reason or str(error)) from error
                await self._flush_locked()

    async def end(self) -> None:
        """See ByteStream; sends close_notify, and a FIN never: proxies on the path end both ways at one."""
        if self._ended:
            return
        async with self._sending:
            self._say_end()
            await self._flush_locked()

    def _say_end(self) -> None:
        self._ended = True
        self._drain()
        # WantRead: the peer hasn't ended yet. Other errors: it has gone. Our close_notify is written either way.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()

    def abort(self) -> None:
        """See ByteStream."""
        self._inner.abort()

    async def close(self) -> None:
        """See ByteStream; after a clean end of both directions the carrier is ended as cleanly."""
        if self._ended and self._peer_ended and not isinstance(self._inner, SocketStream):
            await close_gently(self._inner, CARRIER_END)
        else:
            await self._inner.close()

    def _drain(self) -> None:
        """Decrypt what has arrived: `unwrap` would throw away application data still in the incoming BIO."""
        while not self._peer_ended:
            try:
                data = self._tls.read(CHUNK)
            except ssl.SSLError:
                return
            if data:
                self._own = 0
                self._ready.append(data)
            else:
                self._peer_ended = True

    async def _feed(self) -> None:
        data = await self._inner.receive()
        if data:
            self._take(data)
        else:
            raise StreamReset("the connection ended without close_notify")

    async def _flush_unless_sending(self) -> None:
        # Whoever holds the lock flushes until nothing is left, so nothing is forgotten; waiting for the lock
        # here could wait for a peer that waits for us to read.
        if self._outgoing.pending and not self._sending.locked():
            await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            await self._flush_locked()

    async def _flush_locked(self) -> None:
        while self._outgoing.pending:
            await self._inner.send(self._outgoing.read())


def client_context(
    *,
    ca_pem: str = "",
    certificate: tuple[Path, Path] | None = None,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    with_system: bool = True,
) -> ssl.SSLContext:
    """Return a context that verifies servers against the system's authorities, if wanted, and those in `ca_pem`.

    `certificate` is (chain, key) of a client certificate. Raises StateError (TLS_FILE_UNUSABLE).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = minimum
    if with_system:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_pem:
        _load(lambda: context.load_verify_locations(cadata=ca_pem), "the certificate authorities")
    if certificate is not None:
        chain, key = certificate
        _load(lambda: context.load_cert_chain(chain, key), f"{chain} with {key}")
    return context


def server_context(
    chain: Path,
    key: Path,
    *,
    client_authorities_pem: str = "",
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> ssl.SSLContext:
    """Return a server's context; with authorities, a client certificate is optional but must be theirs.

    Raises StateError (TLS_FILE_UNUSABLE): a server without its certificates must not start.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    _load(lambda: context.load_cert_chain(chain, key), f"{chain} with {key}")
    if client_authorities_pem:
        context.verify_mode = ssl.CERT_OPTIONAL
        _load(lambda: context.load_verify_locations(cadata=client_authorities_pem), "the machine authorities")
    # One ticket is enough for a client that comes back once; a resumed session keeps the certificate's identity.
    context.num_tickets = 1
    return context


def _load(action: object, what: str) -> None:
    assert callable(action)
    try:
        action()
    except (OSError, ssl.SSLError, ValueError) as error:
        raise StateError(
            "TLS_FILE_UNUSABLE",
            f"TLS can't use {what}.",
            cause=str(error),
            remedy="Check that the files are PEM, readable, and belong together.",
        ) from None


def describe_failure(error: ssl.SSLError) -> str:
    """Return why a handshake failed, in words and without a trace."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return (error.reason or str(error)).replace("_", " ").lower()


def join_pem(parts: Iterable[str]) -> str:
    """Return PEM texts as one, each on its own lines."""
    return "".join(part.strip() + "\n" for part in parts if part.strip())
