"""What gateway and machine say to each other on a waiting channel, before it carries an incoming connection.

Lines of ASCII that end in LF, within the frames of the channel:

    gateway → machine   ping SECONDS                        the next line comes within so many seconds
                        open PORT CORRELATION REQUESTER     REQUESTER is percent-encoded
    machine → gateway   pong
                        opened                              what follows are the connection's bytes, both ways
                        declined REASON                     and the channel goes on waiting

The gateway sends nothing between `open` and the answer to it.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from arcgate.core.audit import printable
from arcgate.core.incoming import DECLINED
from arcgate.core.verdicts import Reason

GRANT_FIELD = "Arcgate-Grant"
"""On the CONNECT of somebody who wants to connect to a machine."""

LONGEST_LINE = 1024
"""Bytes of a line, without its end."""
LONGEST_REQUESTER = 200
"""Characters of a requester's name."""

PONG = b"pong\n"
OPENED = b"opened\n"

_PING = re.compile(rb"ping (?P<seconds>[1-9][0-9]{0,4})\Z")
_OPEN = re.compile(
    rb"open (?P<port>[1-9][0-9]{0,4}) (?P<correlation>[A-Za-z0-9-]{8,64}) (?P<requester>[A-Za-z0-9%@._~-]{1,900})\Z"
)
_DECLINED = re.compile(rb"declined (?P<reason>[a-z_]{1,40})\Z")


class LineError(Exception):
    """The peer's bytes are none of the lines."""


@dataclass(frozen=True, slots=True)
class Ping:
    """The gateway is there, and speaks again within so many seconds."""

    seconds: int


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """Somebody wants to connect to a port of the machine."""

    port: int
    correlation_id: str
    requester: str


@dataclass(frozen=True, slots=True)
class Pong:
    """The machine is there."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The connection stands."""


@dataclass(frozen=True, slots=True)
class Declined:
    """There is no connection; the reason is one of `arcgate.core.incoming.DECLINED`."""

    reason: Reason


class LineReader:
    """Takes bytes and gives lines, one at a time; what is behind the last one taken stays in `rest`."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Take more bytes."""
        self.rest += data

    def take(self) -> bytes | None:
        """Return the next line without its end, None while it isn't whole; raises LineError."""
        line, end, rest = self.rest.partition(b"\n")
        if len(line) > LONGEST_LINE:
            raise LineError(f"a line of more than {LONGEST_LINE} bytes")
        if not end:
            return None
        self.rest = rest
        return line


def format_ping(seconds: int) -> bytes:
    """Return the line of a ping."""
    return b"ping %d\n" % seconds


def format_open(request: OpenRequest) -> bytes:
    """Return the line that asks for a connection."""
    requester = quote(printable(request.requester, LONGEST_REQUESTER), safe="@")
    while len(requester) > 900:  # names of many bytes a character: what is left must be whole characters
        requester = quote(unquote(requester)[:-1], safe="@")
    return f"open {request.port} {request.correlation_id} {requester or '-'}\n".encode("ascii")


def format_declined(reason: Reason) -> bytes:
    """Return the line that declines a connection."""
    return f"declined {reason}\n".encode("ascii")


def parse_request(line: bytes) -> Ping | OpenRequest:
    """Return what the gateway says; raises LineError."""
    if match := _PING.match(line):
        return Ping(int(match["seconds"]))
    match = _OPEN.match(line)
    if match is None or int(match["port"]) > 65_535:
        raise LineError(f"not a line of a gateway: {line[:60]!r}")
    requester = printable(unquote(match["requester"].decode("ascii"), errors="replace"), LONGEST_REQUESTER)
    return OpenRequest(int(match["port"]), match["correlation"].decode("ascii"), requester)


def parse_answer(line: bytes) -> Pong | Opened | Declined:
    """Return what the machine says; raises LineError."""
    if line + b"\n" == PONG:
        return Pong()
    if line + b"\n" == OPENED:
        return Opened()
    match = _DECLINED.match(line)
    reason = match["reason"].decode("ascii") if match else ""
    if reason not in DECLINED:
        raise LineError(f"not a line of a machine: {line[:60]!r}")
    return Declined(Reason(reason))
