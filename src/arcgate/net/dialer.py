"""Outbound connections: to addresses that somebody has checked already, with TLS, and on by CONNECT.

What enterprise proxies want beyond a CONNECT is in `net.enterprise_proxies`.
"""

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import h11

from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Address, Target
from arcgate.net.deadlines import within
from arcgate.net.descriptors import OUT_OF_DESCRIPTORS
from arcgate.net.streams import ByteStream, PrefixedStream, SocketStream, StreamReset
from arcgate.net.tasks import cancel
from arcgate.net.tls import TlsStream, describe_failure
from arcgate.wire.connect import Refusal, format_connect, parse_refusal
from arcgate.wire.heads import Fields, HeadError, ResponseHead, ResponseReader, format_fields

STAGGER = 0.25
"""Seconds before the next address is tried beside a slow one (RFC 8305 section 5)."""

REFUSAL_TIMEOUT = 2
"""Seconds that the body of a refused CONNECT gets to arrive."""

LARGEST_REFUSAL = 16 * 1024
"""Bytes of a refused CONNECT's body that are read for its explanation."""

LARGEST_PAGE = 1024 * 1024
"""Bytes of a 407's body that are passed over, so that authentication can go on with the same connection."""

MOST_PIECES = 5_000
"""Pieces of a chunked page that are looked at: smaller ones only cost time."""

PROXY_AUTHENTICATION_REQUIRED = 407

_LENGTH = re.compile(r"[0-9]{1,9}\Z")


class ConnectRefused(HopError):
    """A proxy or gateway answered CONNECT with something other than 2xx."""

    def __init__(self, hop: Hop, code: str, sentence: str, refusal: Refusal, *, cause: str = "", remedy: str) -> None:
        super().__init__(hop, code, sentence, cause=cause, remedy=remedy)
        self.refusal = refusal


class CertificateRefused(HopError):
    """A server's certificate could not be verified; `verify_code` is OpenSSL's (openssl-verification-options(1))."""

    def __init__(self, hop: Hop, server: str, error: ssl.SSLCertVerificationError) -> None:
        super().__init__(
            hop,
            "TLS_CERTIFICATE_REFUSED",
            f"The certificate of {server} is not trusted.",
            cause=describe_failure(error),
            remedy="If a proxy inspects TLS, exempt this name; if the server's authority is private, trust its CA.",
        )
        self.verify_code = error.verify_code


async def dial(addresses: Sequence[Address], port: int, timeout: float) -> SocketStream:
    """Return a connection to the first address that accepts; raises HopError (TCP) naming the last failure.

    Addresses are tried in order, the next one as soon as one fails or after `STAGGER` seconds.
    """
    if len(addresses) == 1:  # the usual case, which needs neither tasks nor a race
        try:
            return await _connect_only(addresses[0], port, timeout)
        except OSError as refusal:
            raise _dial_failure(addresses, port, refusal) from None
    attempts: set[asyncio.Task[socket.socket]] = set()
    waiting = list(addresses)
    failure: BaseException = TimeoutError()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            while waiting or attempts:
                if waiting:
                    address = waiting.pop(0)
                    attempts.add(loop.create_task(_connect(address, port), name=f"dial {address}"))
                done, attempts = await asyncio.wait(
                    attempts, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                failure = next((error for one in done if (error := one.exception()) is not None), failure)
                connected = [one for one in done if one.exception() is None]
                if connected:
                    attempts |= set(connected[1:])  # two at the same moment: the others are closed below
                    return SocketStream(connected[0].result())
    except TimeoutError:
        failure = TimeoutError()
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_close_unused)
        await cancel(*attempts)
    raise _dial_failure(addresses, port, failure)


def _close_unused(attempt: "asyncio.Task[socket.socket]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _connect(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connecting = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(connecting, (str(address), port))
    except BaseException:
        connecting.close()
        raise
    return connecting


async def _connect_only(address: Address, port: int, timeout: float) -> SocketStream:
    """Connect to the one address that there is; the socket is registered once, for connecting and all after it."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connecting = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    text = str(address)
    try:
        code = connecting.connect_ex((text, port))
        if code not in {0, errno.EINPROGRESS}:
            raise _os_error(code)
        stream = SocketStream(connecting, text)
    except BaseException:
        connecting.close()
        raise
    try:
        if code:
            with within(timeout):
                while not _is_connected(connecting):
                    await stream.readiness.writable()
    except BaseException:
        stream.let_go()
        raise
    return stream


def _is_connected(connecting: socket.socket) -> bool:
    """Say whether a connection stands: a report of readiness alone may be late, for an earlier descriptor.

    Raises OSError when it was refused.
    """
    if code := connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise _os_error(code)
    try:
        connecting.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False
        raise
    return True


def _os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _dial_failure(addresses: Iterable[Address], port: int, failure: BaseException) -> HopError:
    where = ", ".join(f"{address}" for address in addresses)
    if isinstance(failure, TimeoutError) or getattr(failure, "errno", None) == errno.ETIMEDOUT:
        code, what = "TCP_TIMEOUT", "did not answer in time"
        remedy = "Check routes and firewalls on the path; they seem to drop packets."
    elif isinstance(failure, ConnectionRefusedError):
        code, what = "TCP_REFUSED", "refused the connection"
        remedy = "Check that the service is running and listens on this port."
    elif getattr(failure, "errno", None) in OUT_OF_DESCRIPTORS:
        code, what = "NO_DESCRIPTORS", "can't be dialled: this process has no descriptor left"
        remedy = "Raise the limit of open files of the service, or lower the limits of its connections."
    else:
        code, what = "TCP_UNREACHABLE", "can't be reached"
        remedy = "Check routes and firewalls on the path."
    return HopError(Hop.TCP, code, f"{where} port {port} {what}.", cause=str(failure), remedy=remedy)


async def start_tls(
    stream: ByteStream,
    context: ssl.SSLContext,
    server_name: str,
    timeout: float,
    *,
    hop: Hop = Hop.TLS,
    session: ssl.SSLSession | None = None,
) -> TlsStream:
    """Return a TLS client stream over `stream`; raises HopError. The caller closes `stream` on failure.

    `session` is one of an earlier connection with the same context, to be resumed.
    """
    tls = TlsStream(stream, context, server_side=False, server_hostname=server_name, session=session)
    try:
        async with asyncio.timeout(timeout):
            await tls.handshake()
    except TimeoutError:
        raise HopError(
            hop,
            "TLS_TIMEOUT",
            f"{server_name} did not complete the TLS handshake in {timeout:g} s.",
            remedy="Look for a firewall or proxy on the path that inspects or drops TLS.",
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(hop, server_name, error) from None
    except (ssl.SSLError, StreamReset) as error:
        cause = describe_failure(error) if isinstance(error, ssl.SSLError) else str(error)
        raise HopError(
            hop,
            "TLS_FAILED",
            f"{server_name} did not complete the TLS handshake.",
            cause=cause,
            remedy="Look for a firewall or proxy on the path that inspects or drops TLS.",
        ) from None
    return tls


async def connect_through(
    stream: ByteStream, target: Target, timeout: float, *, hop: Hop, via: str, fields: Fields = ()
) -> tuple[ByteStream, Fields]:
    """Send CONNECT on `stream`; return the tunnel and the answer's fields.

    `hop` is PROXY for an enterprise proxy and GATEWAY for a gateway, `via` its name for messages. Raises
    ConnectRefused or HopError. The caller closes `stream` on failure.
    """
    answer = await ask(stream, format_connect(target, fields), timeout, hop, via, f"CONNECT {target}")
    if answer.is_success:
        return (PrefixedStream(answer.body, stream) if answer.body else stream), answer.head.fields
    raise refused_connect(hop, via, target, answer)


@dataclass(frozen=True, slots=True)
class ConnectAnswer:
    """What a proxy or gateway answered; `body` is what came behind the head, of a refusal its page."""

    head: ResponseHead
    body: bytes
    has_body: bool = True
    """False for answers to HEAD, whatever their length field says."""
    is_whole: bool = False
    """Whether nothing of it is still to come."""

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status

    @property
    def is_success(self) -> bool:
        """Whether a tunnel begins."""
        return 200 <= self.head.status < 300

    @property
    def refusal(self) -> Refusal:
        """What a refusal says."""
        return parse_refusal(self.head.status, self.head.fields, self.body)

    @property
    def keeps_connection(self) -> bool:
        """Whether another request may follow on the connection: nothing of this answer is still to come."""
        options = f"{self.head.first('connection')},{self.head.first('proxy-connection')}".lower()
        is_kept = "keep-alive" in options if self.head.minor_version == 0 else "close" not in options
        return is_kept and self.is_whole


async def ask(
    stream: ByteStream, request: bytes, timeout: float, hop: Hop, via: str, what: str, *, has_body: bool = True
) -> ConnectAnswer:
    """Send a request and return its answer; raises HopError. Answers to HEAD have no body."""
    reader = ResponseReader()
    try:
        with within(timeout):
            await stream.send(request)
            while (head := reader.feed(await _receive(stream))) is None:
                pass
            if 200 <= head.status < 300 or not has_body:
                return ConnectAnswer(head, reader.rest, has_body, is_whole=not reader.rest)
            page = Page(head)
            await _read_page(stream, reader.rest, page)
            return ConnectAnswer(head, page.beginning, is_whole=page.is_whole)
    except TimeoutError:
        raise no_answer(hop, via, f"no answer to {what} in {timeout:g} s") from None
    except (StreamReset, HeadError) as error:
        raise no_answer(hop, via, str(error)) from None


async def _receive(stream: ByteStream) -> bytes:
    data = await stream.receive()
    if not data:
        raise StreamReset("the connection was closed before an answer")
    return data


async def _read_page(stream: ByteStream, data: bytes, page: "Page") -> None:
    # A proxy that keeps the connection for the next try doesn't end it after the body.
    with contextlib.suppress(TimeoutError, StreamReset):  # what has come is enough
        async with asyncio.timeout(REFUSAL_TIMEOUT):
            while page.take(data) and (data := await stream.receive()):
                pass


class Page:
    """The body of a refusal: its beginning is kept; all of it must have come before another request may follow."""

    def __init__(self, head: ResponseHead) -> None:
        # Only after a 407 is there another request.
        self._most = LARGEST_PAGE if head.status == PROXY_AUTHENTICATION_REQUIRED else LARGEST_REFUSAL
        self._taken = self._pieces = 0
        self._reader = h11.Connection(h11.CLIENT)
        self._reader.send(h11.Request(method="GET", target="/", headers=[("Host", "proxy")]))
        self._reader.send(h11.EndOfMessage())
        self._reader.receive_data(b"HTTP/1.1 407 \r\n" + format_fields(_framing(head)) + b"\r\n")
        self.beginning = b""
        self.is_whole = False

    def take(self, data: bytes) -> bool:
        """Take what has come; say whether more is wanted."""
        self._taken += len(data)
        if data:
            self._reader.receive_data(data)
        try:
            while (event := self._reader.next_event()) is not h11.NEED_DATA:
                self._pieces += 1
                if self._pieces > MOST_PIECES:
                    return False
                if isinstance(event, h11.Data) and (room := LARGEST_REFUSAL - len(self.beginning)):
                    self.beginning += bytes(event.data[:room])
                elif isinstance(event, h11.EndOfMessage):
                    self.is_whole = not self._reader.trailing_data[0]
                    return False
        except h11.RemoteProtocolError:
            return False
        return self._taken < self._most


def _framing(head: ResponseHead) -> Fields:
    if head.first("transfer-encoding").lower() == "chunked":
        return (("Transfer-Encoding", "chunked"),)
    length = head.first("content-length")
    return (("Content-Length", length),) if _LENGTH.match(length) else ()


def content_length(head: ResponseHead) -> int:
    """Return the bytes of an answer's body, `LARGEST_REFUSAL` where it doesn't say."""
    length = head.first("content-length")
    return int(length) if _LENGTH.match(length) else LARGEST_REFUSAL


def no_answer(hop: Hop, via: str, cause: str) -> HopError:
    """Return the error of a proxy or gateway that gave no proper answer."""
    word = "gateway" if hop is Hop.GATEWAY else "enterprise proxy"
    return HopError(
        hop,
        f"{hop.name}_FAILED",
        f"The {word} {via} did not answer CONNECT properly.",
        cause=cause,
        remedy=f"Check that {via} is a working {word}.",
    )


def refused_connect(hop: Hop, via: str, target: Target, answer: ConnectAnswer) -> ConnectRefused:
    """Return the error of a refused CONNECT: the reason of a gateway's, else the status."""
    refusal = answer.refusal
    if hop is Hop.GATEWAY and refusal.code:
        where = Hop.TARGET if refusal.code.startswith(("dns_", "target_")) and refusal.status >= 500 else Hop.POLICY
        return ConnectRefused(
            where, refusal.code.upper(), refusal.message, refusal, cause=refusal.detail, remedy=refusal.remedy
        )
    remedies = {
        407: f"{via} wants authentication: put user and password into its URL, or exempt this host there.",
        403: f"Allow CONNECT to {target} on {via}.",
    }
    usual = f"Look into the log of {via}."
    if 300 <= refusal.status < 400:
        usual = f"{via} may want somebody to sign in by a browser: exempt this machine or {target} there."
    return ConnectRefused(
        hop,
        f"{hop.name}_REFUSED",
        f"{via} answered {refusal.status} {answer.head.phrase} to CONNECT {target}.",
        refusal,
        remedy=remedies.get(refusal.status, usual),
    )
