"""The ClientHello of real TLS clients, cut, split and damaged in every way."""

import random
import ssl
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.wire.client_hello import (
    LARGEST_HELLO,
    UNRECOGNIZED_NAME_ALERT,
    ClientHello,
    ClientHelloReader,
    HelloError,
)


def hello(
    name: str | None = "abc.gw.cloud.example",
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    protocols: tuple[str, ...] = (),
) -> bytes:
    """The first flight of a client of the ssl module."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def fragmented(data: bytes, size: int) -> bytes:
    """The same handshake message in records of at most `size` bytes."""
    message = data[5:]
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def read(*pieces: bytes) -> ClientHello | None:
    reader = ClientHelloReader()
    found = None
    for piece in pieces:
        found = reader.feed(piece)
    assert reader.consumed == b"".join(pieces)
    return found


def with_server_name(extension: bytes) -> bytes:
    """A minimal ClientHello with the given server_name extension body."""
    extensions = b"\x00\x00" + len(extension).to_bytes(2, "big") + extension
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def name_list(*names: bytes, kind: int = 0) -> bytes:
    entries = b"".join(bytes([kind]) + len(name).to_bytes(2, "big") + name for name in names)
    return len(entries).to_bytes(2, "big") + entries


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocols", [(), ("h2", "http/1.1"), tuple("p" * 200 + str(number) for number in range(100))])
def test_the_name_that_a_client_asks_for_is_found(version: ssl.TLSVersion, protocols: tuple[str, ...]) -> None:
    data = hello(version=version, protocols=protocols)
    assert read(data) == ClientHello("abc.gw.cloud.example")  # type: ignore[arg-type]
    assert read(data + b"behind it") == ClientHello("abc.gw.cloud.example")  # type: ignore[arg-type]


def test_names_are_normalised() -> None:
    assert read(with_server_name(name_list(b"ABC.Example"))) == ClientHello("abc.example")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_asks_for_no_name_has_none(version: ssl.TLSVersion) -> None:
    assert read(hello(None, version)) == ClientHello(None)


def test_a_hello_without_extensions_has_no_name() -> None:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    assert read(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message) == ClientHello(None)


def test_every_single_split_gives_the_same_hello() -> None:
    data = hello()
    whole = read(data)
    assert whole is not None
    for position in range(len(data)):
        assert read(data[:position]) is None
        assert read(data[:position], data[position:]) == whole


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100, 511])
def test_a_hello_in_many_records_byte_by_byte_is_the_same(size: int) -> None:
    data = fragmented(hello(), size)
    assert read(data) == read(hello())
    assert read(*(data[position : position + 1] for position in range(len(data)))) == read(hello())


@given(st.integers(1, 600), st.lists(st.integers(0, 3000), max_size=8))
def test_any_split_of_any_fragmentation_gives_the_same_hello(size: int, cuts: list[int]) -> None:
    data = fragmented(hello(), size)
    marks = sorted({cut % len(data) for cut in cuts} | {0, len(data)})
    assert read(*(data[left:right] for left, right in pairwise(marks))) == read(data)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\x05\x01\x00", b"\x80\x2e\x01\x00\x02",
     b"\x15\x03\x01\x00\x02\x02\x28", b"\x14\x03\x01\x00\x01\x01", b"\x17\x03\x03\x00\x05hello", b"\x00",
     b"\x16\x02\x00", b"\x16\x04\x01", b"\x16\xfe\xff", b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\x40\x01",
     b"\x16\x03\x01\xff\xff",
     b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", b"\x16\x03\x01\x00\x04\x00\x00\x00\x00",
     b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
     b"\x16\x03\x01\x00\x04\x01\x01\x00\x01", b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"],
)  # fmt: skip
def test_what_is_no_client_hello_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(HelloError):
        read(data)


def test_an_alert_between_the_records_is_refused() -> None:
    first = fragmented(hello(), 100)[:105]
    with pytest.raises(HelloError):
        read(first + b"\x15\x03\x01\x00\x02\x01\x00")


@pytest.mark.parametrize(
    "extension",
    [name_list(b""), name_list(b"a\x00.example"), name_list(b"10.0.0.1"), name_list(b"::1"),
    name_list(b"*.example.com"),
     name_list(b"a..b"), name_list("münchen.de".encode()), name_list(b"a" * 64), name_list(b"a b"), name_list(b"127.1"),
     name_list(b"a.example:443"), name_list(b"-a.example"), b"", b"\x00", b"\x00\x05\x00\x00\x09a",
     b"\xff\xff\x00\x00\x01a"],
)  # fmt: skip
def test_a_server_name_that_is_no_host_name_is_refused(extension: bytes) -> None:
    with pytest.raises(HelloError):
        read(with_server_name(extension))


def test_an_empty_list_and_names_of_an_unknown_kind_are_no_name() -> None:
    assert read(with_server_name(name_list())) == ClientHello(None)
    assert read(with_server_name(name_list(b"whatever", kind=7))) == ClientHello(None)


def test_the_first_host_name_counts() -> None:
    found = read(with_server_name(name_list(b"a.example", b"b.example")))
    assert found == ClientHello("a.example")  # type: ignore[arg-type]


def test_a_hello_of_the_largest_size_is_waited_for_and_a_larger_one_refused() -> None:
    def start(length: int) -> bytes:
        return b"\x16\x03\x01\x40\x00\x01" + length.to_bytes(3, "big")

    assert read(start(LARGEST_HELLO)) is None
    with pytest.raises(HelloError):
        read(start(LARGEST_HELLO + 1))


def test_endless_tiny_records_are_bounded() -> None:
    reader = ClientHelloReader()
    record = b"\x16\x03\x01\x00\x01\x01"
    with pytest.raises(HelloError):
        reader.feed(record * (LARGEST_HELLO + 5))


def test_a_large_hello_in_tiny_records_and_pieces_is_read_in_linear_time() -> None:
    message = b"\x01" + (60_000).to_bytes(3, "big") + bytes(60_000)
    data = fragmented(b"\x16\x03\x01\x00\x00" + message, 1)
    reader = ClientHelloReader()
    for start in range(0, len(data) - 6, 64):
        assert reader.feed(data[start : start + 64][: len(data) - 6 - start]) is None


def test_damaged_hellos_are_read_or_refused_but_nothing_else_happens() -> None:
    chooser = random.Random(1)
    samples = [hello(), hello(None), fragmented(hello(), 60), with_server_name(name_list(b"a.example", b"b.example"))]
    for _ in range(3000):
        data = bytearray(chooser.choice(samples))
        for _ in range(chooser.randint(1, 4)):
            position = chooser.randrange(len(data))
            match chooser.randrange(3):
                case 0:
                    data[position] = chooser.randrange(256)
                case 1:
                    del data[position : position + chooser.randint(1, 9)]
                case _:
                    data[position:position] = chooser.randbytes(chooser.randint(1, 9))
        reader = ClientHelloReader()
        try:
            reader.feed(bytes(data))
        except HelloError:
            continue


@given(st.binary(max_size=300))
def test_any_body_of_a_hello_is_read_or_refused(body: bytes) -> None:
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    reader = ClientHelloReader()
    try:
        found = reader.feed(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)
    except HelloError:
        return
    assert found is not None


def test_the_alert_is_one_that_tls_clients_understand() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(UNRECOGNIZED_NAME_ALERT)
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    assert "UNRECOGNIZED_NAME" in (caught.value.reason or "")


@pytest.mark.parametrize("protocols", [(), ("acme-tls/1",), ("h2", "http/1.1")])
def test_offered_protocols_are_told_in_their_order(protocols: tuple[str, ...]) -> None:
    found = read(hello(protocols=protocols))
    assert found is not None
    assert found.protocols == tuple(one.encode() for one in protocols)


def test_a_list_of_protocols_that_contradicts_itself_is_an_error_only_for_who_asks() -> None:
    data = hello(protocols=("acme-tls/1",))
    place = data.index(b"\x00\x0b\x0aacme-tls/1")
    found = read(data[: place + 2] + b"\x0b" + data[place + 3 :])
    assert found is not None
    assert found.server_name == "abc.gw.cloud.example"
    with pytest.raises(HelloError):
        _ = found.protocols
