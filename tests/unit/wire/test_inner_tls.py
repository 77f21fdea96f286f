"""The watcher of inner TLS sessions: hands over TLS 1.3 at record boundaries, and nothing else ever."""

import random
import ssl
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.wire.inner_tls import InnerTls, RecordWalk
from worlds.authority import Authority

Flight = tuple[bool, bytes]
"""Whether the client sent it, and the bytes."""


def session(authority: Authority, version: ssl.TLSVersion, *, retry: bool = False) -> list[Flight]:
    """Return everything that a client and a server say, in order, with some application data both ways."""
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.load_verify_locations(cadata=authority.pem)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*authority.issue("a.example"))
    client_side.minimum_version = client_side.maximum_version = version
    if retry:
        server_side.set_ecdh_curve("secp384r1")  # the client's first key share is for another one
    to_client, to_server, from_client, from_server = (ssl.MemoryBIO() for _ in range(4))
    client = client_side.wrap_bio(to_client, from_client, server_hostname="a.example")
    server = server_side.wrap_bio(to_server, from_server, server_side=True)
    flights: list[Flight] = []

    def carry() -> None:
        for is_client, out, into in ((True, from_client, to_server), (False, from_server, to_client)):
            if data := out.read():
                flights.append((is_client, data))
                into.write(data)

    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            carry()
    for _ in range(3):
        client.write(b"question" * 50)
        carry()
        server.write(b"answer" * 5000)
        carry()
    return flights


def boundaries(data: bytes) -> set[int]:
    """Return the places between records, by a walk of its own."""
    places, position = {0}, 0
    while position + 5 <= len(data):
        position += 5 + int.from_bytes(data[position + 3 : position + 5], "big")
        places.add(position)
    return places


def places_of(flights: list[Flight], chooser: random.Random, pieces: int) -> list[tuple[bool, int, int]]:
    """Feed the flights in pieces; return (from the client, place in its direction, bytes of both sides before)."""
    inner, found = InnerTls(), []
    for is_client, data in flights:
        cuts = sorted({0, len(data), *(chooser.randrange(len(data)) for _ in range(pieces))})
        walk = inner.from_client if is_client else inner.from_server
        for left, right in pairwise(cuts):
            walk.feed(data[left:right])
            place = inner.hand_over_at(walk, right - left)
            if place is not None:
                assert 0 <= place <= right - left
                found.append((is_client, walk.seen - (right - left) + place, inner.from_server.seen))
    return found


@pytest.mark.parametrize("retry", [False, True], ids=["plain", "HelloRetryRequest"])
@pytest.mark.parametrize("pieces", [0, 1, 7, 60])
def test_a_tls_1_3_session_is_handed_over_at_record_boundaries_in_both_directions(
    authority: Authority, retry: bool, pieces: int
) -> None:
    flights = session(authority, ssl.TLSVersion.TLSv1_3, retry=retry)
    found = places_of(flights, random.Random(pieces), pieces)
    assert {is_client for is_client, _, _ in found} == {True, False}
    for direction in (True, False):
        whole = b"".join(data for is_client, data in flights if is_client is direction)
        assert {place for is_client, place, _ in found if is_client is direction} <= boundaries(whole)
    # Not before the server's certificate has passed: its first flight is longer than any hello.
    first_flight = next(data for is_client, data in flights if not is_client)
    assert all(server_bytes >= len(first_flight) for _, _, server_bytes in found) or retry


@pytest.mark.parametrize("pieces", [0, 1, 7, 60])
def test_a_tls_1_2_session_is_never_handed_over(authority: Authority, pieces: int) -> None:
    flights = session(authority, ssl.TLSVersion.TLSv1_2)
    assert places_of(flights, random.Random(pieces), pieces) == []


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.2\r\n" * 10, b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff" + bytes(100),
     b"\x17\x02\x03\x00\x05hello", b"\x18\x03\x03\x00\x05hello", b"\x17\x03\x03\x00\x00", b"\x17\x03\x03\x41\x01"],
)  # fmt: skip
def test_something_else_is_given_up(data: bytes) -> None:
    for side in ("from_client", "from_server"):
        inner = InnerTls()
        walk: RecordWalk = getattr(inner, side)
        walk.feed(data)
        assert inner.is_hopeless
        assert inner.hand_over_at(walk, len(data)) is None


def test_what_only_begins_like_tls_1_3_is_given_up_when_it_goes_astray(authority: Authority) -> None:
    flights = session(authority, ssl.TLSVersion.TLSv1_3)
    inner = InnerTls()
    for is_client, data in flights[:3]:
        (inner.from_client if is_client else inner.from_server).feed(data)
    inner.from_client.feed(b"plain text all of a sudden")
    assert inner.is_hopeless


def test_application_data_without_any_hello_is_never_handed_over() -> None:
    inner = InnerTls()
    record = b"\x17\x03\x03\x00\x05hello"
    for _ in range(10):
        for walk in (inner.from_client, inner.from_server):
            walk.feed(record)
            assert inner.hand_over_at(walk, len(record)) is None


def test_a_walk_keeps_little_of_what_it_sees() -> None:
    walk = RecordWalk()
    record = b"\x16\x03\x03\x40\x00" + bytes(16_384)
    for _ in range(20):
        walk.feed(record)
    assert len(walk.plain) <= 3 * 16_384


@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=80)), max_size=12))
def test_no_bytes_make_the_watcher_fail(flights: list[Flight]) -> None:
    inner = InnerTls()
    for is_client, data in flights:
        walk = inner.from_client if is_client else inner.from_server
        walk.feed(data)
        assert inner.hand_over_at(walk, len(data)) is None or not inner.is_hopeless


record = st.builds(
    lambda kind, payload: bytes([kind]) + b"\x03\x03" + len(payload).to_bytes(2, "big") + payload,
    st.sampled_from([20, 21, 22, 23]),
    st.binary(min_size=1, max_size=60),
)


@given(st.lists(st.tuples(st.booleans(), record), max_size=20))
def test_records_without_a_real_server_hello_are_never_handed_over(flights: list[Flight]) -> None:
    inner = InnerTls()
    for is_client, data in flights:
        walk = inner.from_client if is_client else inner.from_server
        walk.feed(data)
        assert inner.hand_over_at(walk, len(data)) is None
