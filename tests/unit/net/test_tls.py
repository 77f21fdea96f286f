"""TLS over streams in memory: half-closes, cuts, back-pressure, certificates, TLS in TLS."""

import asyncio
import hashlib
import random
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from arcgate.core.errors import StateError
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tasks import cancel, spawn
from arcgate.net.tls import TlsStream, client_context, describe_failure, join_pem, server_context
from worlds.authority import Authority
from worlds.memory_streams import Chunk, cycle, memory_pair, whole
from worlds.waiting import settled, until

pytestmark = pytest.mark.anyio

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
NAME = "gateway.example"


@pytest.fixture(params=VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    found: ssl.TLSVersion = request.param
    return found


_contexts: dict[tuple[Path, ssl.TLSVersion | None], tuple[ssl.SSLContext, ssl.SSLContext]] = {}


def contexts(authority: Authority, version: ssl.TLSVersion | None = None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a client's and a server's context, made once: loading the system's authorities takes its time."""
    key = (authority.folder, version)
    if key not in _contexts:
        client = client_context(ca_pem=authority.pem)
        if version is not None:
            client.maximum_version = client.minimum_version = version
        _contexts[key] = client, server_context(*authority.issue(NAME))
    return _contexts[key]


async def shake(client: TlsStream, server: TlsStream) -> None:
    await asyncio.gather(client.handshake(), server.handshake())


async def connected(
    authority: Authority,
    version: ssl.TLSVersion | None = None,
    *,
    capacity: int = 64 * 1024,
    chunk: Chunk = whole,
    over: tuple[ByteStream, ByteStream] | None = None,
) -> tuple[TlsStream, TlsStream]:
    """Return a client's and a server's stream after their handshake."""
    left, right = over or memory_pair(capacity, chunk)
    client_side, server_side = contexts(authority, version)
    client = TlsStream(left, client_side, server_side=False, server_hostname=NAME)
    server = TlsStream(right, server_side, server_side=True)
    await shake(client, server)
    return client, server


async def receive_all(stream: ByteStream) -> bytes:
    data = b""
    while piece := await stream.receive():
        data += piece
    return data


async def test_bytes_arrive_in_both_directions(authority: Authority, version: ssl.TLSVersion) -> None:
    client, server = await connected(authority, version)
    assert client.tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    await client.send(b"to the server")
    assert await server.receive() == b"to the server"
    await server.send(b"to the client")
    assert await client.receive() == b"to the client"
    assert client.peer == "memory"


@pytest.mark.parametrize("sizes", [(1,), (1, 2, 3, 5, 7), (4, 1, 16_000), (5,)])
async def test_awkward_chunks_change_nothing(
    authority: Authority, version: ssl.TLSVersion, sizes: tuple[int, ...]
) -> None:
    client, server = await connected(authority, version, chunk=cycle(*sizes))
    message = random.Random(1).randbytes(40_000)
    sending = spawn("send", client.send(message))
    received = b""
    while len(received) < len(message):
        received += await server.receive()
    await sending
    assert received == message


async def test_a_direction_ends_by_itself_and_the_other_goes_on(authority: Authority, version: ssl.TLSVersion) -> None:
    for swapped in (False, True):
        pair = await connected(authority, version)
        first, second = pair[::-1] if swapped else pair
        await first.send(b"question")
        await first.end()
        assert await second.receive() == b"question"
        assert await second.receive() == b""
        assert await second.receive() == b""
        for number in range(20):
            await second.send(b"answer %d" % number)
            assert await first.receive() == b"answer %d" % number
        await second.end()
        assert await first.receive() == b""


async def test_an_end_reaches_the_stream_below_as_close_notify_and_not_as_its_end(authority: Authority) -> None:
    left, right = memory_pair()
    client, server = await connected(authority, over=(left, right))
    await client.end()
    assert await server.receive() == b""
    assert not left.has_ended


async def test_ending_twice_sends_one_close_notify(authority: Authority, version: ssl.TLSVersion) -> None:
    left, right = memory_pair()
    client, _ = await connected(authority, version, over=(left, right))
    await client.end()
    sent = left.sent
    await client.end()
    assert left.sent == sent


async def test_both_sides_may_end_at_the_same_moment(authority: Authority, version: ssl.TLSVersion) -> None:
    client, server = await connected(authority, version)
    await client.send(b"last words of the client")
    await server.send(b"last words of the server")
    await asyncio.gather(client.end(), server.end())
    assert await receive_all(server) == b"last words of the client"
    assert await receive_all(client) == b"last words of the server"


async def test_sending_after_the_end_is_a_reset(authority: Authority, version: ssl.TLSVersion) -> None:
    client, _ = await connected(authority, version)
    await client.end()
    with pytest.raises(StreamReset):
        await client.send(b"x")


@pytest.mark.parametrize("amount", [1, 16 * 1024, 60_000, 200_000])
async def test_ending_loses_nothing_that_has_arrived_but_was_not_read_yet(
    authority: Authority, version: ssl.TLSVersion, amount: int
) -> None:
    client, server = await connected(authority, version, capacity=1 << 20)
    message = random.Random(2).randbytes(amount)
    await server.send(b"first")
    assert await client.receive() == b"first"
    await server.send(b"x")
    await server.send(message)
    # One receive feeds everything into the TLS object and returns a part of it: the rest lies there undelivered.
    received = await client.receive()
    await client.end()
    await server.send(b"and more")
    await server.end()
    assert received + await receive_all(client) == b"x" + message + b"and more"
    assert await server.receive() == b""


async def test_ending_with_half_a_record_in_the_buffer_loses_nothing(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    left, right = memory_pair(1 << 20)
    client, server = await connected(authority, version, over=(left, right))
    await server.send(b"first")
    assert await client.receive() == b"first"
    left._incoming.chunk = cycle(700)
    message = random.Random(3).randbytes(3000)
    await server.send(message)
    receiving = spawn("receive", client.receive())
    await until(lambda: len(left._incoming.buffer) < 3000)
    await client.end()
    await server.end()
    assert await receiving + await receive_all(client) == message
    assert await server.receive() == b""


async def test_a_connection_cut_without_close_notify_is_a_reset(authority: Authority, version: ssl.TLSVersion) -> None:
    left, right = memory_pair()
    client, server = await connected(authority, version, over=(left, right))
    await client.send(b"whole message")
    await left.end()
    assert await server.receive() == b"whole message"
    for _ in range(2):
        with pytest.raises(StreamReset):
            await server.receive()


async def test_a_reset_below_is_a_reset_above(authority: Authority) -> None:
    left, right = memory_pair()
    client, server = await connected(authority, over=(left, right))
    waiting = spawn("receive", server.receive())
    await settled()
    client.abort()
    with pytest.raises(StreamReset):
        await waiting
    with pytest.raises(StreamReset):
        await server.send(b"x" * 1_000_000)


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x17\x03\x03\x00\x10" + b"\x00" * 16, b"\x00" * 100]
)
async def test_bytes_that_are_no_records_of_this_connection_are_a_reset(authority: Authority, garbage: bytes) -> None:
    left, right = memory_pair()
    _, server = await connected(authority, over=(left, right))
    await left.send(garbage)
    with pytest.raises(StreamReset):
        await server.receive()


async def test_a_damaged_record_is_a_reset(authority: Authority, version: ssl.TLSVersion) -> None:
    left, right = memory_pair()
    client, server = await connected(authority, version, over=(left, right))
    await client.send(b"payload" * 100)
    right._incoming.buffer[-5] ^= 1
    with pytest.raises(StreamReset):
        await server.receive()


async def test_a_writer_waits_while_nobody_reads(authority: Authority, version: ssl.TLSVersion) -> None:
    left, right = memory_pair(capacity=10_000)
    client, server = await connected(authority, version, over=(left, right))
    total = 2_000_000
    sending = spawn("send", client.send(b"x" * total))
    await settled(500)
    assert not sending.done()
    assert left.sent < 20_000
    received = 0
    while received < total:
        received += len(await server.receive())
    await sending
    assert received == total


async def test_one_direction_flows_while_the_other_is_stuck(authority: Authority) -> None:
    client, server = await connected(authority, capacity=10_000)
    stuck = spawn("stuck", client.send(b"x" * 500_000))
    await settled()
    for number in range(50):
        await server.send(b"%d" % number)
        assert await client.receive() == b"%d" % number
    assert not stuck.done()
    await cancel(stuck)


async def test_both_directions_carry_a_lot_at_once_without_a_wrong_byte(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    client, server = await connected(authority, version, capacity=200_000, chunk=cycle(65_536, 1000, 16_384, 131_072))
    block = random.Random(4).randbytes(1 << 20)
    count = 66  # 64 MiB in each direction

    async def send(stream: TlsStream) -> None:
        for number in range(count):
            await stream.send(block[number * 1000 :])
        await stream.end()

    async def digest(stream: TlsStream) -> str:
        running = hashlib.sha256()
        while data := await stream.receive():
            running.update(data)
        return running.hexdigest()

    expected = hashlib.sha256(b"".join(block[number * 1000 :] for number in range(count))).hexdigest()
    _, _, *digests = await asyncio.gather(send(client), send(server), digest(client), digest(server))
    assert digests == [expected, expected]


async def test_tls_nests_in_tls(authority: Authority, version: ssl.TLSVersion) -> None:
    outer = await connected(authority, version, chunk=cycle(1, 1000, 17))
    client, server = await connected(authority, over=outer)
    message = random.Random(5).randbytes(100_000)
    sending = spawn("send", client.send(message))
    received = b""
    while len(received) < len(message):
        received += await server.receive()
    await sending
    assert received == message
    await client.end()
    assert await server.receive() == b""
    await server.send(b"after the half-close, two layers deep")
    assert await client.receive() == b"after the half-close, two layers deep"
    # The inner end has not ended the outer connection.
    await outer[0].send(b"outer")
    assert await outer[1].receive() == b"outer"


async def shake_with_client_certificate(
    authority: Authority,
    certificate: tuple[Path, Path] | None,
    trusted: Authority,
    *,
    required: bool,
    version: ssl.TLSVersion,
) -> tuple[TlsStream, TlsStream, list[object]]:
    left, right = memory_pair()
    client_side = client_context(ca_pem=authority.pem, certificate=certificate)
    client_side.minimum_version = client_side.maximum_version = version
    server_side = server_context(*authority.issue(NAME), client_authorities_pem=trusted.pem)
    if required:
        server_side.verify_mode = ssl.CERT_REQUIRED
    client = TlsStream(left, client_side, server_side=False, server_hostname=NAME)
    server = TlsStream(right, server_side, server_side=True)

    async def serve() -> None:
        try:
            await server.handshake()
        except ssl.SSLError:
            await server.close()
            raise

    results = await asyncio.gather(client.handshake(), serve(), return_exceptions=True)
    return client, server, list(results)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("required", [True, False])
async def test_a_client_certificate_of_the_right_authority_is_seen_by_the_server(
    authority: Authority, version: ssl.TLSVersion, required: bool
) -> None:
    certificate = authority.issue("machine.example", common_name="machine-1")
    client, server, results = await shake_with_client_certificate(
        authority, certificate, authority, required=required, version=version
    )
    assert results == [None, None]
    seen = server.tls.getpeercert()
    assert seen is not None
    assert ("commonName", "machine-1") in [pair for part in seen["subject"] for pair in part]
    await server.send(b"welcome")
    assert await client.receive() == b"welcome"


async def test_a_client_may_come_without_a_certificate_when_it_is_optional(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    client, server, results = await shake_with_client_certificate(
        authority, None, authority, required=False, version=version
    )
    assert results == [None, None]
    assert server.tls.getpeercert() is None
    await client.send(b"x")
    assert await server.receive() == b"x"


@pytest.mark.parametrize("case", ["none though required", "another authority", "another authority, optional"])
async def test_a_refused_client_certificate_shows_at_the_client_as_an_alert(
    authority: Authority, stranger: Authority, version: ssl.TLSVersion, case: str
) -> None:
    certificate = None if case.startswith("none") else stranger.issue("machine.example")
    client, _, results = await shake_with_client_certificate(
        authority, certificate, authority, required=not case.endswith("optional"), version=version
    )
    assert isinstance(results[1], ssl.SSLError)
    if version is ssl.TLSVersion.TLSv1_2:
        assert isinstance(results[0], ssl.SSLError)
        shown = describe_failure(results[0])
    else:
        # In TLS 1.3 the client is done before the server has looked: the alert comes on the first read.
        assert results[0] is None
        with pytest.raises(StreamReset) as caught:
            await client.receive()
        shown = str(caught.value).lower().replace("_", " ")
    assert "alert" in shown


async def test_a_client_refuses_a_server_of_another_authority_or_name(
    authority: Authority, stranger: Authority
) -> None:
    for trusted, name, words in ((stranger, NAME, "issuer"), (authority, "other.example", "Hostname mismatch")):
        left, right = memory_pair()
        client = TlsStream(left, client_context(ca_pem=trusted.pem), server_side=False, server_hostname=name)
        server = TlsStream(right, server_context(*authority.issue(NAME)), server_side=True)
        results = await asyncio.gather(client.handshake(), server.handshake(), return_exceptions=True)
        assert isinstance(results[0], ssl.SSLCertVerificationError)
        assert words in describe_failure(results[0])
        assert isinstance(results[1], ssl.SSLError)
        assert "alert" in describe_failure(results[1])


async def test_a_peer_that_goes_during_the_handshake_is_a_reset(authority: Authority) -> None:
    for chunk in (0, 100):
        left, right = memory_pair()
        client = TlsStream(left, client_context(ca_pem=authority.pem), server_side=False, server_hostname=NAME)
        shaking = spawn("handshake", client.handshake())
        await settled()
        await right.send(b"\x16\x03\x03\x02\x00" * (chunk // 5))
        await right.close()
        with pytest.raises((StreamReset, ssl.SSLError)):
            await shaking


@pytest.mark.parametrize(
    "data", [b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b"\x80\x2e\x01\x03\x01", b"\x00" * 64]
)
async def test_a_handshake_with_something_else_fails_with_words(authority: Authority, data: bytes) -> None:
    left, right = memory_pair()
    server = TlsStream(right, server_context(*authority.issue(NAME)), server_side=True)
    await left.send(data)
    await left.end()
    with pytest.raises((ssl.SSLError, StreamReset)) as caught:
        await server.handshake()
    if isinstance(caught.value, ssl.SSLError):
        assert describe_failure(caught.value).islower()


async def test_a_client_that_speaks_only_tls_1_1_is_refused(authority: Authority) -> None:
    left, right = memory_pair()
    _, server_side = contexts(authority)
    server = TlsStream(right, server_side, server_side=True)
    # A ClientHello of version 3.2 without the extension that offers newer ones.
    body = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x04\xc0\x14\xc0\x13" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    await left.send(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)
    with pytest.raises(ssl.SSLError):
        await server.handshake()
    assert (await left.receive())[0] == 21  # the alert has been sent


def test_files_that_tls_cannot_use_are_a_state_error_with_a_remedy(authority: Authority, tmp_path: Path) -> None:
    chain, key = authority.issue(NAME)
    _, other_key = authority.issue(NAME)
    empty, garbage = tmp_path / "empty", tmp_path / "garbage"
    empty.write_text("")
    garbage.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for one_chain, one_key in ((tmp_path / "none", key), (chain, tmp_path / "none"), (empty, key), (chain, empty),
                               (garbage, key), (chain, other_key), (tmp_path, key), (key, chain)):  # fmt: skip
        makes: list[Callable[[], object]] = [
            partial(server_context, one_chain, one_key),
            partial(client_context, certificate=(one_chain, one_key)),
        ]
        for make in makes:
            with pytest.raises(StateError) as caught:
                make()
            assert caught.value.code == "TLS_FILE_UNUSABLE"
            assert str(one_chain) in caught.value.sentence
    for pem in ("nonsense", garbage.read_text()):
        with pytest.raises(StateError):
            client_context(ca_pem=pem)
        with pytest.raises(StateError):
            server_context(chain, key, client_authorities_pem=pem)


def test_pem_texts_are_joined_each_on_its_own_lines() -> None:
    assert join_pem(["a\n", "", "  \n", "b", "\nc\n\n"]) == "a\nb\nc\n"


def test_the_server_context_asks_for_certificates_only_when_it_has_authorities(authority: Authority) -> None:
    chain, key = authority.issue(NAME)
    assert server_context(chain, key).verify_mode is ssl.CERT_NONE
    assert server_context(chain, key, client_authorities_pem=authority.pem).verify_mode is ssl.CERT_OPTIONAL
    assert client_context().check_hostname
    assert client_context().minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_peer_that_sends_messages_of_tls_and_never_data_is_cut(authority: Authority) -> None:
    left, right = memory_pair(64 * 1024, whole)
    client_side, _ = contexts(authority, ssl.TLSVersion.TLSv1_3)
    talkative = server_context(*authority.issue(NAME))
    talkative.num_tickets = 2000
    client = TlsStream(left, client_side, server_side=False, server_hostname=NAME)
    server = TlsStream(right, talkative, server_side=True)
    talking = spawn("handshake", server.handshake())
    await client.handshake()
    with pytest.raises(StreamReset, match="messages of TLS and no data"):
        await client.receive()
    await cancel(talking)


async def test_a_few_tickets_before_the_data_are_no_reason_to_cut(authority: Authority) -> None:
    left, right = memory_pair(64 * 1024, whole)
    client_side, _ = contexts(authority, ssl.TLSVersion.TLSv1_3)
    usual = server_context(*authority.issue(NAME))
    usual.num_tickets = 20
    client = TlsStream(left, client_side, server_side=False, server_hostname=NAME)
    server = TlsStream(right, usual, server_side=True)
    await shake(client, server)
    await server.send(b"hello")
    assert await client.receive() == b"hello"
