"""Messages of signed channels: the upgrade's heads, and bytes in, bytes out, however they are split."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from arcgate.core.verdicts import Reason
from arcgate.wire.heads import HeadError, RequestHead, RequestReader, ResponseHead, ResponseReader
from arcgate.wire.messages import (
    CHANNEL_PATH,
    LARGEST_CERTIFICATE,
    MOST_EMPTY,
    MessageCodec,
    MessageError,
    asks_for_channel,
    certificate_of,
    challenge_of,
    format_switch,
    format_upgrade,
)

NONCE = bytes(range(16))
CHALLENGE = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
USUAL = {"upgrade": "websocket", "sec-websocket-key": "AAECAwQFBgcICQoLDA0ODw==", "sec-websocket-version": "13"}


def request(data: bytes) -> RequestHead:
    head = RequestReader().feed(data)
    assert head is not None
    return head


def head_with(method: str = "GET", minor: int = 1, **fields: str) -> RequestHead:
    given = {**USUAL, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return RequestHead(method, CHANNEL_PATH, minor, tuple((name, value) for name, value in given.items() if value))


def answered(head: RequestHead) -> ResponseHead:
    answer = ResponseReader().feed(format_switch(head, CHALLENGE))
    assert answer is not None
    return answer


def test_an_upgrade_is_read_back_with_its_certificate_and_answered_with_the_challenge() -> None:
    head = request(format_upgrade("gw.example", NONCE, b"certificate"))
    assert asks_for_channel(head)
    assert certificate_of(head) == b"certificate"
    assert challenge_of(answered(head), NONCE) == CHALLENGE


def test_without_a_certificate_none_is_read() -> None:
    assert certificate_of(request(format_upgrade("gw.example", NONCE, None))) is None


def test_a_plain_request_of_the_path_is_no_upgrade() -> None:
    assert not asks_for_channel(head_with(upgrade=""))
    assert not asks_for_channel(head_with(upgrade="h2c"))


@pytest.mark.parametrize(
    "head",
    [
        head_with(method="POST"),
        head_with(minor=0),
        head_with(sec_websocket_key=""),
        head_with(sec_websocket_key="short"),
        head_with(sec_websocket_key="AAECAwQFBgcICQoLDA0ODw==\n"),
        head_with(sec_websocket_version="8"),
        head_with(sec_websocket_version=""),
    ],
)
def test_an_upgrade_that_is_none_of_a_websocket_is_refused(head: RequestHead) -> None:
    with pytest.raises(HeadError) as caught:
        asks_for_channel(head)
    assert caught.value.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("value", ["!", "abc", "AAAA\n", "A" * (LARGEST_CERTIFICATE + 4), "٣٣٣٣"])
def test_a_certificate_that_is_no_base64_is_refused(value: str) -> None:
    with pytest.raises(HeadError):
        certificate_of(head_with(arcgate_machine_certificate=value))


def test_two_certificates_are_refused() -> None:
    fields = (("arcgate-machine-certificate", "AAAA"), ("arcgate-machine-certificate", "AAAA"))
    with pytest.raises(HeadError):
        certificate_of(RequestHead("GET", CHANNEL_PATH, 1, fields))


def test_an_answer_to_another_request_gives_no_challenge() -> None:
    head = request(format_upgrade("gw.example", NONCE, None))
    with pytest.raises(MessageError):
        challenge_of(answered(head), bytes(16))


@pytest.mark.parametrize("challenge", ["", "short", CHALLENGE + "\n", CHALLENGE + "A"])
def test_a_challenge_that_was_stripped_or_changed_is_told(challenge: str) -> None:
    answer = answered(request(format_upgrade("gw.example", NONCE, None)))
    fields = tuple((name, challenge if name == "arcgate-challenge" else value) for name, value in answer.fields)
    with pytest.raises(MessageError):
        challenge_of(ResponseHead(101, "", fields), NONCE)


def pair() -> tuple[MessageCodec, MessageCodec]:
    return MessageCodec(is_client=True), MessageCodec(is_client=False)


def fed(codec: MessageCodec, data: bytes, sizes: list[int]) -> bytes:
    got, position = b"", 0
    for size in [*sizes, len(data)]:
        got += b"".join(codec.feed(data[position : position + size]))
        position += size
    return got


@given(
    st.lists(st.binary(min_size=1, max_size=400), max_size=6), st.lists(st.integers(1, 50), max_size=40), st.booleans()
)
def test_bytes_arrive_as_they_were_sent_however_they_are_split(
    payloads: list[bytes], sizes: list[int], from_client: bool
) -> None:
    client, server = pair()
    sender, receiver = (client, server) if from_client else (server, client)
    data = b"".join(map(sender.format, payloads)) + sender.format_end()
    assert fed(receiver, data, sizes) == b"".join(payloads)
    assert receiver.peer_ended


def test_every_split_of_a_conversation_gives_the_same() -> None:
    client, _ = pair()
    data = client.format(b"hello") + client.format(bytes(300)) + client.format_end()
    for cut in range(len(data) + 1):
        _, server = pair()
        assert fed(server, data, [cut]) == b"hello" + bytes(300)


def test_a_ping_is_owed_an_answer_and_carries_nothing() -> None:
    client, server = pair()
    raw = Connection(ConnectionType.CLIENT)
    assert server.feed(raw.send(Ping(payload=b"x"))) == []
    assert client.feed(server.take_replies()) == []
    assert server.take_replies() == b""


def test_an_end_is_answered_once_and_nothing_follows_it() -> None:
    client, server = pair()
    assert server.feed(client.format_end() + b"rest") == []
    assert server.peer_ended
    assert client.feed(server.take_replies()) == []
    assert client.peer_ended
    assert server.format_end() == client.format_end() == b""
    assert server.feed(b"more") == []
    for codec in (client, server):
        with pytest.raises(MessageError):
            codec.format(b"x")


def raw_client(*events: object) -> bytes:
    raw = Connection(ConnectionType.CLIENT)
    return b"".join(raw.send(event) for event in events)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x05hello",  # without a mask
        b"\xf2\x85\0\0\0\0hello",  # reserved bits
        b"\x83\x80\0\0\0\0",  # a kind that doesn't exist
        b"\x89\xfe\x01\0\0\0\0\0",  # a ping that is too long
        pytest.param(raw_client(TextMessage(data="hello")), id="text"),  # masks are random, names may not be
        pytest.param(raw_client(CloseConnection(code=1011)), id="closed by an error"),
    ],
)
def test_what_is_no_binary_message_ends_the_channel(data: bytes) -> None:
    with pytest.raises(MessageError):
        MessageCodec(is_client=False).feed(data)


def test_a_peer_that_sends_empty_messages_alone_is_cut() -> None:
    empty = raw_client(BytesMessage(data=b""))
    server = MessageCodec(is_client=False)
    for _ in range(MOST_EMPTY):
        server.feed(empty)
    with pytest.raises(MessageError):
        server.feed(empty)


def test_pings_of_a_channel_that_is_silent_for_days_are_answered_all() -> None:
    client, server = MessageCodec(is_client=True), MessageCodec(is_client=False)
    for beat in range(3 * MOST_EMPTY):
        now = beat * 30.0
        assert server.feed(client.format_ping(), now) == []
        assert client.feed(server.take_replies(), now) == []


def test_pings_that_come_faster_than_any_silence_end_the_channel() -> None:
    client, server = MessageCodec(is_client=True), MessageCodec(is_client=False)
    for beat in range(MOST_EMPTY):
        server.feed(client.format_ping(), beat / MOST_EMPTY)
    with pytest.raises(MessageError):
        server.feed(client.format_ping(), 1)


def test_after_the_end_there_are_no_pings() -> None:
    client = MessageCodec(is_client=True)
    client.format_end()
    assert client.format_ping() == b""


def test_data_in_between_lets_empty_messages_pass() -> None:
    raw = Connection(ConnectionType.CLIENT)
    server = MessageCodec(is_client=False)
    for _ in range(3):
        server.feed(b"".join(raw.send(BytesMessage(data=b"")) for _ in range(MOST_EMPTY)))
        assert server.feed(raw.send(BytesMessage(data=b"x"))) == [b"x"]


def test_a_message_comes_through_before_it_is_complete() -> None:
    client, server = pair()
    data = client.format(bytes(1000))
    assert b"".join(server.feed(data[:500]))
