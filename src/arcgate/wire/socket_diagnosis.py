"""Linux's question who owns a TCP socket (sock_diag(7), inet_diag_req_v2), as bytes: no I/O.

One question names one connection, so that its cost doesn't grow with the number of connections, as that of reading
/proc/net/tcp would.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_TCP = 6
_FAMILIES = {4: 2, 6: 10}
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = 0xFFFFFFFF

_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_QUESTION = struct.Struct("=BBBBI")
"""inet_diag_req_v2 before the connection's id: family, protocol, extensions, padding, states."""
_INTERFACE = struct.Struct("=III")
"""The rest of the id: interface and cookie."""
_ANSWER = struct.Struct("=BBBB48xIIIII")
"""inet_diag_msg: family, state, timer, retransmissions, id, expires, queues, uid, inode."""


@dataclass(frozen=True, slots=True)
class SocketOwner:
    """Who owns a socket: user id, and the inode by which processes refer to it."""

    user_id: int
    inode: int


def format_question(own: tuple[str, int], peer: tuple[str, int]) -> bytes:
    """Return the question for the socket whose own address and port, and whose peer's, these are."""
    address = _parse(own[0])
    ports = struct.pack("!HH", own[1], peer[1])
    place = ports + _padded(address) + _padded(_parse(peer[0])) + _INTERFACE.pack(0, _NO_COOKIE, _NO_COOKIE)
    body = _QUESTION.pack(_FAMILIES[address.version], _TCP, 0, 0, _ALL_STATES) + place
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + body


def parse_answer(data: bytes) -> SocketOwner | None:
    """Return the owner; None when there is no such socket, or one that its process has closed already."""
    if len(data) < _HEADER.size + _ANSWER.size:
        return None
    _, kind, _, _, _ = _HEADER.unpack_from(data)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    *_, user_id, inode = _ANSWER.unpack_from(data, _HEADER.size)
    # What a closed socket leaves behind has no inode, and is said to be root's.
    return SocketOwner(user_id, inode) if inode else None


def _parse(text: str) -> IPv4Address | IPv6Address:
    return IPv6Address(text.partition("%")[0]) if ":" in text else IPv4Address(text)


def _padded(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed.ljust(16, b"\0")
