"""Session tickets that another context understands."""

import asyncio
import ssl
import sys

import pytest

from arcgate.net.streams import SocketStream
from arcgate.net.ticket_keys import PERIOD, SECRET_SIZE, share_ticket_keys
from arcgate.net.tls import TlsStream, client_context, server_context
from worlds.authority import Authority
from worlds.sockets import connected_sockets

pytestmark = pytest.mark.anyio

NAME = "a.example"
ONE, OTHER = bytes(SECRET_SIZE), bytes([1]) * SECRET_SIZE


class Meeting:
    """Clients of one context that meet servers, each with a context of its own."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._client = client_context(ca_pem=authority.pem)
        self.session: ssl.SSLSession | None = None

    def server(self, secret: bytes, now: float = 0) -> ssl.SSLContext:
        context = server_context(*self._authority.issue(NAME), minimum=ssl.TLSVersion.TLSv1_3)
        assert share_ticket_keys(context, secret, now)
        return context

    async def is_resumed(self, server: ssl.SSLContext) -> bool:
        """Shake hands with the session of the last time; say whether it was resumed."""
        near, far = (SocketStream(one) for one in connected_sockets())
        client = TlsStream(near, self._client, server_side=False, server_hostname=NAME, session=self.session)
        serving = TlsStream(far, server, server_side=True)
        await asyncio.gather(client.handshake(), serving.handshake())
        await serving.send(b"x")
        assert await client.receive() == b"x"  # the ticket has come before it
        self.session = client.tls.session
        await client.close()
        await serving.close()
        return bool(client.tls.session_reused)


async def test_a_session_is_resumed_by_another_context_with_the_same_secret(authority: Authority) -> None:
    meeting = Meeting(authority)
    assert not await meeting.is_resumed(meeting.server(ONE))
    assert await meeting.is_resumed(meeting.server(ONE))
    assert await meeting.is_resumed(meeting.server(ONE, PERIOD - 1))


async def test_with_another_secret_or_on_another_day_it_is_not(authority: Authority) -> None:
    meeting = Meeting(authority)
    await meeting.is_resumed(meeting.server(ONE))
    assert not await meeting.is_resumed(meeting.server(OTHER))
    assert not await meeting.is_resumed(meeting.server(OTHER, PERIOD))


def test_a_python_whose_insides_are_not_known_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert not share_ticket_keys(context, ONE, 0)
