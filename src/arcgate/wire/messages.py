"""Channels as messages: a WebSocket (RFC 6455), since that is what proxies that inspect TLS pass on.

The binary messages of each direction, put together, are the bytes of the channel; where one ends means nothing. Only
the head of the upgrade is our own here, for its limits are ours; frames, masks and closing are wsproto's part.
"""

import base64
import binascii
import re

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, generate_accept_token

from arcgate.core.verdicts import Reason
from arcgate.wire.heads import HeadError, RequestHead, ResponseHead, format_fields

CHANNEL_PATH = b"/arcgate/channel"
"""What the upgrade asks for; a plain GET of it says which certificate the node shows."""
CHALLENGE_FIELD = "Arcgate-Challenge"
"""On the answer: what each proof on this channel has to cover."""
CERTIFICATE_FIELD = "Arcgate-Machine-Certificate"
"""On the request: the machine's certificate, base64 of its DER."""
LARGEST_CERTIFICATE = 8 * 1024
"""Characters of CERTIFICATE_FIELD's value."""

MOST_EMPTY = 1_000
"""Messages without data in a row, within COUNTED_FOR: a peer that sends more would keep the loop from everybody."""
COUNTED_FOR = 60.0
"""Seconds after which they are counted anew: pings of a silent channel go on for as long as it lives."""

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}\Z")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_NORMAL = 1000
"""Status code of an end that was meant (RFC 6455 section 7.4.1)."""


class MessageError(Exception):
    """The peer's bytes are no binary messages."""


def asks_for_channel(head: RequestHead) -> bool:
    """Say whether the request wants a channel of messages; raises HeadError when it wants another kind."""
    if not any("websocket" in value.lower() for value in head.all("upgrade")):
        return False
    keys = head.all("sec-websocket-key")
    if head.method != "GET" or head.minor_version == 0 or len(keys) != 1 or not _KEY.match(keys[0]):
        raise HeadError(Reason.REQUEST_MALFORMED, "the upgrade is no WebSocket's")
    if head.all("sec-websocket-version") != ["13"]:
        raise HeadError(Reason.REQUEST_MALFORMED, "the WebSocket's version is not 13")
    return True


def certificate_of(head: RequestHead) -> bytes | None:
    """Return the DER that the upgrade carries, None when there is none; raises HeadError."""
    given = head.all(CERTIFICATE_FIELD.lower())
    if not given:
        return None
    try:
        if len(given) > 1 or len(given[0]) > LARGEST_CERTIFICATE or not _BASE64.match(given[0]):
            raise ValueError("not base64")
        return base64.b64decode(given[0], validate=True)
    except (ValueError, binascii.Error):
        raise HeadError(Reason.REQUEST_MALFORMED, f"{CERTIFICATE_FIELD} holds no certificate") from None


def format_upgrade(host: str, nonce: bytes, certificate: bytes | None) -> bytes:
    """Return the request for a channel; `nonce` are 16 random bytes, `certificate` is DER."""
    fields = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", base64.b64encode(nonce).decode("ascii")),
        ("Sec-WebSocket-Version", "13"),
    ]
    if certificate is not None:
        fields.append((CERTIFICATE_FIELD, base64.b64encode(certificate).decode("ascii")))
    return b"GET " + CHANNEL_PATH + b" HTTP/1.1\r\n" + format_fields(tuple(fields)) + b"\r\n"


def format_switch(head: RequestHead, challenge: str) -> bytes:
    """Return the answer to an upgrade, after which messages follow."""
    key = head.all("sec-websocket-key")[0].encode("ascii")
    fields = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", generate_accept_token(key).decode("ascii")),
        (CHALLENGE_FIELD, challenge),
    )
    return b"HTTP/1.1 101 Switching Protocols\r\n" + format_fields(fields) + b"\r\n"


def challenge_of(answer: ResponseHead, nonce: bytes) -> str:
    """Return the challenge of an answer with status 101; raises MessageError naming what is wrong with it."""
    expected = generate_accept_token(base64.b64encode(nonce)).decode("ascii")
    if answer.first("sec-websocket-accept") != expected:
        raise MessageError("the answer to the upgrade is not to this request")
    challenge = answer.first(CHALLENGE_FIELD.lower())
    if not _CHALLENGE.match(challenge):
        raise MessageError(f"the answer to the upgrade came without {CHALLENGE_FIELD}")
    return challenge


class MessageCodec:
    """One end of the messages: takes the peer's bytes and gives the channel's, and the other way round.

    `replies` are bytes that the protocol owes the peer (an answer to a ping, or to its end).
    """

    def __init__(self, *, is_client: bool) -> None:
        self._protocol = Connection(ConnectionType.CLIENT if is_client else ConnectionType.SERVER)
        self._empty = 0
        self._counted_since = 0.0
        self.peer_ended = False
        self.replies = b""

    def feed(self, data: bytes, now: float = 0) -> list[bytes]:
        """Return the channel's bytes that the peer's hold; raises MessageError. What follows its end is dropped.

        `now` is any clock's, in seconds.
        """
        if self.peer_ended:
            return []
        self._protocol.receive_data(data)
        pieces = []
        for event in self._protocol.events():
            match event:
                case BytesMessage() if event.data:
                    pieces.append(bytes(event.data))
                    self._empty = 0
                case BytesMessage() | Pong():
                    self._count_empty(now)
                case Ping():
                    self._count_empty(now)
                    self._reply(event.response())
                case CloseConnection():
                    self._take_end(event)
                    return pieces
                case TextMessage():
                    raise MessageError("the peer sent text")
                case _:
                    raise MessageError(f"the peer sent {type(event).__name__}")
        return pieces

    def format(self, data: bytes) -> bytes:
        """Return the bytes of one message; raises MessageError once either side has ended."""
        try:
            return self._protocol.send(BytesMessage(data=data))
        except LocalProtocolError:
            raise MessageError("the channel has ended") from None

    def format_end(self) -> bytes:
        """Return the bytes of our end, none when it was sent already."""
        if self._protocol.state in {ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING}:
            return self._protocol.send(CloseConnection(code=_NORMAL))
        return b""

    def format_ping(self) -> bytes:
        """Return the bytes of a ping, which the peer answers; none once either side has ended."""
        return self._protocol.send(Ping()) if self._protocol.state is ConnectionState.OPEN else b""

    def take_replies(self) -> bytes:
        """Return what is owed to the peer, once."""
        owed, self.replies = self.replies, b""
        return owed

    def _take_end(self, event: CloseConnection) -> None:
        self.peer_ended = True
        if self._protocol.state not in {ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED}:
            # wsproto tells of bytes that are no messages as of an end that didn't come.
            raise MessageError(event.reason or "the peer's bytes are no messages")
        if event.code != _NORMAL:
            raise MessageError(f"the channel was closed with status {event.code}")
        self.replies += self.format_end()

    def _reply(self, pong: Pong) -> None:
        if self._protocol.state is ConnectionState.OPEN:
            self.replies += self._protocol.send(pong)

    def _count_empty(self, now: float) -> None:
        if now - self._counted_since >= COUNTED_FOR:
            self._empty, self._counted_since = 0, now
        self._empty += 1
        if self._empty > MOST_EMPTY:
            raise MessageError("the peer sends messages without data")
