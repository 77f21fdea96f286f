"""A DNS server on loopback that answers by a script, by UDP and TCP on one port."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from arcgate.net.streams import SocketStream
from arcgate.net.tasks import cancel, spawn

Question = tuple[str, str]
"""Name without its last dot, and type."""

Answer = bytes | None
"""What goes on the wire; None is silence."""

Reply = Callable[[dns.message.Message], Answer]


def records(*addresses: str, ttl: int = 60) -> Reply:
    """Answer with addresses of the question's type."""

    def reply(query: dns.message.Message) -> Answer:
        response = dns.message.make_response(query)
        question = query.question[0]
        if addresses:
            response.answer.append(dns.rrset.from_text(question.name, ttl, "IN", question.rdtype, *addresses))
        return response.to_wire()

    return reply


def alias_of(*names: str) -> Reply:
    """Answer with a chain of CNAMEs; a chain that comes back to its start is a loop."""

    def reply(query: dns.message.Message) -> Answer:
        response = dns.message.make_response(query)
        chain = [query.question[0].name.to_text(), *(f"{name}." for name in names)]
        for left, right in pairwise(chain):
            response.answer.append(dns.rrset.from_text(left, 60, "IN", "CNAME", right))
        return response.to_wire()

    return reply


def code(name: str) -> Reply:
    """Answer with a response code: NXDOMAIN, SERVFAIL, REFUSED, ..."""

    def reply(query: dns.message.Message) -> Answer:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.from_text(name))
        return response.to_wire()

    return reply


def nothing_for(ttl: int, minimum: int, name: str = "NOERROR") -> Reply:
    """Answer that there is nothing, or no such name, and by the zone's SOA for how long that may be believed."""

    def reply(query: dns.message.Message) -> Answer:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.from_text(name))
        zone = f"ns.example. admin.example. 1 3600 600 86400 {minimum}"
        response.authority.append(dns.rrset.from_text("example.", ttl, "IN", "SOA", zone))
        return response.to_wire()

    return reply


def raw(data: bytes) -> Reply:
    """Answer with any bytes behind the query's id."""
    return lambda query: query.id.to_bytes(2, "big") + data


def truncated(query: dns.message.Message) -> Answer:
    """Answer that the rest comes by TCP."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.TC
    return response.to_wire()


def silence(_query: dns.message.Message) -> Answer:
    """Answer nothing."""
    return None


@dataclass
class DnsServer:
    """Replies by (name, type); what isn't listed does not exist. `tcp` is looked at first for queries by TCP."""

    udp: dict[Question, Reply] = field(default_factory=dict)
    tcp: dict[Question, Reply] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Transport, name and type of each query."""
    port: int = 0

    @property
    def address(self) -> str:
        """ADDRESS:PORT for a resolver's settings."""
        return f"127.0.0.1:{self.port}"

    def answer(self, wire: bytes, transport: str) -> Answer:
        """Return what the server says to a query."""
        query = dns.message.from_wire(wire)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((transport, name, kind))
        replies = {**self.udp, **self.tcp} if transport == "tcp" else self.udp
        return replies.get((name, kind), code("NXDOMAIN"))(query)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (answer := self._server.answer(data, "udp")) is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def dns_server(udp: dict[Question, Reply], tcp: dict[Question, Reply] | None = None) -> AsyncIterator[DnsServer]:
    """Run a server until the block ends."""
    server = DnsServer(udp, tcp or {})
    loop = asyncio.get_running_loop()
    listening, datagrams = _bind_both()
    server.port = listening.getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server), sock=datagrams)
    tasks = set()

    async def accept() -> None:
        while True:
            accepted, _ = await loop.sock_accept(listening)
            tasks.add(spawn("DNS by TCP", _serve_tcp(server, accepted)))

    accepting = spawn("DNS server", accept())
    try:
        yield server
    finally:
        await cancel(accepting, *tasks)
        transport.close()
        listening.close()


def _bind_both() -> tuple[socket.socket, socket.socket]:
    """Return a TCP and a UDP socket on the same port."""
    while True:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.setblocking(False)
        try:
            datagrams.bind(listening.getsockname())
        except OSError:
            listening.close()
            datagrams.close()
        else:
            return listening, datagrams


async def _serve_tcp(server: DnsServer, accepted: socket.socket) -> None:
    stream = SocketStream(accepted)
    try:
        data = b""
        while len(data) < 2 or len(data) < 2 + struct.unpack("!H", data[:2])[0]:
            piece = await stream.receive()
            if not piece:
                return
            data += piece
        if (answer := server.answer(data[2:], "tcp")) is not None:
            await stream.send(struct.pack("!H", len(answer)) + answer)
        await stream.receive()
    finally:
        await stream.close()
