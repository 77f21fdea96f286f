"""HTTP/1 heads: strict, the same for every split of the bytes, and refused at the first sign of trouble."""

# ruff: noqa: RUF001 - look-alike characters are what some of these tests are about
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.verdicts import Reason
from arcgate.wire.heads import (
    Fields,
    HeadError,
    Limits,
    RequestHead,
    RequestReader,
    ResponseHead,
    ResponseReader,
    format_fields,
)

GOOD = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nX-Empty:\r\nX-Two: a\tb  \r\n\r\n"
ANSWER = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"


def read_request(*pieces: bytes, limits: Limits | None = None) -> RequestHead | None:
    reader = RequestReader(limits)
    head = None
    for piece in pieces:
        assert head is None
        head = reader.feed(piece)
    return head


def one_by_one(data: bytes) -> list[bytes]:
    return [data[position : position + 1] for position in range(len(data))]


def refusal(data: bytes, limits: Limits | None = None) -> Reason:
    with pytest.raises(HeadError) as caught:
        read_request(data, limits=limits)
    assert caught.value.detail
    return caught.value.reason


def test_a_head_has_lower_case_names_and_trimmed_values() -> None:
    head = read_request(GOOD)
    assert head == RequestHead(
        "CONNECT", b"a.example:443", 1, (("host", "a.example:443"), ("x-empty", ""), ("x-two", "a\tb"))
    )
    assert head.all("host") == ["a.example:443"]
    assert head.all("missing") == []


def test_every_single_split_gives_the_same_head_and_rest() -> None:
    data, behind = GOOD, b"\x16\x03\x01tunnel bytes"
    whole = read_request(data)
    for position in range(len(data) + 1):
        reader = RequestReader()
        head = reader.feed(data[:position])
        if position < len(data):
            assert head is None
            head = reader.feed(data[position:] + behind)
            assert reader.rest == behind
        assert head == whole


def test_a_head_that_comes_byte_by_byte_is_the_same() -> None:
    assert read_request(*one_by_one(GOOD)) == read_request(GOOD)


def test_a_reader_knows_whether_a_byte_has_come() -> None:
    reader = RequestReader()
    assert not reader.has_begun
    reader.feed(b"C")
    assert reader.has_begun


# What can't become a request any more is refused without a further byte, not only when time is up.
OTHER_PROTOCOLS = {
    "TLS ClientHello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "SSLv2 hello": b"\x80\x2e\x01\x00\x02",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n",
    "HTTP/2 preface, all": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00",
    "SOCKS4": b"\x04\x01\x01\xbb\x01\x02\x03\x04\x00",
    "SOCKS5": b"\x05\x01\x00",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "RDP": b"\x03\x00\x00\x13\x0e\xe0\x00\x00",
    "SMB": b"\x00\x00\x00\x85\xffSMB",
    "PROXY version 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "PROXY version 2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c",
    "FTP": b"USER anonymous\r\n",
    "SMTP": b"EHLO a.example\r\n",
    "IRC": b"NICK a\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "PostgreSQL": b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
    "MQTT": b"\x10\x0c\x00\x04MQTT",
    "LDAP": b"0\x0c\x02\x01\x01`\x07",
    "HTTP answer": b"HTTP/1.1 200 OK\r\n",
    "zeros": b"\x00" * 8,
    "an empty line first": b"\r\n",
    "a space first": b" CONNECT",
}


@pytest.mark.parametrize("start", OTHER_PROTOCOLS.values(), ids=list(OTHER_PROTOCOLS))
def test_the_first_bytes_of_another_protocol_are_refused_at_once(start: bytes) -> None:
    assert refusal(start) is Reason.REQUEST_MALFORMED
    with pytest.raises(HeadError):
        read_request(*one_by_one(start))


BAD_LINES = [
    b"CONNECT\x0ba.example:443 HTTP/1.1", b"CONNECT\ta.example:443 HTTP/1.1", b"CONNECT  a.example:443 HTTP/1.1",
    b"CONNECT a.example:443  HTTP/1.1", b"CONNECT a.example:443 HTTP/1.1 ", b" CONNECT a.example:443 HTTP/1.1",
    b"connect a.example:443 HTTP/1.1", b"Connect a.example:443 HTTP/1.1", b"CONNECT a.example:443",
    b"CONNECT a.example:443 ", b"CONNECT", b"CONNECT ", b"CONNECT  HTTP/1.1", b"CONNECT a.example:443 HTTP/1.2",
    b"CONNECT a.example:443 HTTP/2.0", b"CONNECT a.example:443 HTTP/0.9", b"CONNECT a.example:443 HTTP/1",
    b"CONNECT a.example:443 HTTP/1.", b"CONNECT a.example:443 HTTP/1.10", b"CONNECT a.example:443 HTTP/01.1",
    b"CONNECT a.example:443 HTTP/1,1", b"CONNECT a.example:443 http/1.1", b"CONNECT a.example:443 HTTPS/1.1",
    "CONNECT a.example:443 HTTP/١.١".encode(), "CONNECT ａ.example:443 HTTP/1.1".encode(),
    b"CONNECT a.example:443 HTTP/1.1\x00", b"CONNECT a.ex\x00ample:443 HTTP/1.1", b"CONNECT a\x7f:443 HTTP/1.1",
    b"CONNECT a b:443 HTTP/1.1", b"CONNECT a.example:443 HTTP/1.1 x", b"CONNECT,a.example:443,HTTP/1.1",
    b"C\x00NNECT a.example:443 HTTP/1.1", b"CONN3CT a.example:443 HTTP/1.1", b"CONNECT/ a.example:443 HTTP/1.1",
    b"X" * 21 + b" a HTTP/1.1", b"CONNECT " + b"a" * 8193 + b" HTTP/1.1", b"CONNECT a\xa0b HTTP/1.1",
    b"CONNECT a.example:443 HTTP/1.1\x85", b"CONNECT a.example:443\xc2\x85HTTP/1.1", b"",
]  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: ascii(line[:50]))
def test_a_malformed_request_line_is_refused_as_soon_as_it_has_ended(line: bytes) -> None:
    assert refusal(line + b"\r\n") is Reason.REQUEST_MALFORMED
    assert refusal(line + b"\r\nHost: a.example:443\r\n\r\n") is Reason.REQUEST_MALFORMED
    with pytest.raises(HeadError):
        read_request(*one_by_one(line + b"\r\n"))


BAD_LINE_ENDS = [
    GOOD.replace(b"\r\n", b"\n"), GOOD.replace(b"\r\n", b"\r"), GOOD.replace(b"\r\n", b"\n\r"),
    GOOD.replace(b"\r\n", b"\r\r\n"), GOOD.replace(b"\r\n", b"\xc2\x85"), GOOD.replace(b"\r\nX-Two", b"\nX-Two"),
    GOOD.replace(b"\r\nX-Two", b"\rX-Two"), GOOD.replace(b"\r\nX-Two", b"\r\r\nX-Two"),
    GOOD.replace(b"\r\nHost", b"\nHost"), GOOD[:-2] + b"\n", GOOD[:-4] + b"\n\n", GOOD[:-4] + b"\r\n\n",
]  # fmt: skip


@pytest.mark.parametrize("data", BAD_LINE_ENDS, ids=lambda data: ascii(data[20:80]))
def test_only_cr_lf_ends_a_line(data: bytes) -> None:
    if b"\r" in data or b"\n" in data:
        assert refusal(data + b"x" if data.endswith(b"\r") else data) is Reason.REQUEST_MALFORMED
    assert refusal(data + b"\r\n\r\n") is Reason.REQUEST_MALFORMED


BAD_FIELDS = [
    b": value", b"Name : value", b"Name\t: value", b" Name: value", b"\tName: value", b"Name", b"Na me: value",
    b"Name\x00: value", b"Name: val\x00ue", b"Name: val\x0bue", b"Name: val\x0cue", b"Name: val\x1bue",
    b"Name: val\x7fue", b"Name: val\nue", b"Name: val\rue", b"N\xe4me: value", b"Name(: value", b"Name\x85: value",
    b"[Name]: value", b'"Name": value', b"N" * 257 + b": value", b"Name;: value", b"Na/me: value", b"Na,me: v",
    b"A: b\r\n folded", b"A: b\r\n\tfolded", b"@: v", b"{}: v", b"=: v", b"\\: v", b"?: v", b"\xff: v",
]  # fmt: skip


@pytest.mark.parametrize("field", BAD_FIELDS, ids=lambda field: ascii(field[:30]))
def test_a_malformed_field_is_refused_wherever_it_stands(field: bytes) -> None:
    line, host = b"CONNECT a.example:443 HTTP/1.1\r\n", b"Host: a.example:443\r\n"
    for head in (line + field + b"\r\n" + host, line + host + field + b"\r\n"):
        assert refusal(head + b"\r\n") is Reason.REQUEST_MALFORMED
        with pytest.raises(HeadError) as caught:
            read_request(*one_by_one(head + b"\r\n"))
        assert caught.value.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("field", [b"A:b", b"A:", b"A: ", b"A: \t b \t", b"A: \xe4\xff", b"!#$%&'*+.^_`|~09: v",
b"A: :",
                                   b"N" * 256 + b": v"])  # fmt: skip
def test_an_unusual_but_well_formed_field_is_taken(field: bytes) -> None:
    data = b"CONNECT a.example:443 HTTP/1.1\r\n" + field + b"\r\n\r\n"
    head = read_request(data)
    assert head is not None
    assert head == read_request(*one_by_one(data))
    name, _, value = field.partition(b":")
    assert head.fields == ((name.decode().lower(), value.decode("latin-1").strip(" \t")),)


def padded(size: int) -> bytes:
    start = b"CONNECT a.example:443 HTTP/1.1\r\nX: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def test_the_limit_of_bytes_is_exact() -> None:
    limits = Limits(bytes=1000)
    assert read_request(padded(1000), limits=limits) is not None
    assert read_request(*one_by_one(padded(1000)), limits=limits) is not None
    assert refusal(padded(1001), limits) is Reason.HEAD_TOO_LARGE
    with pytest.raises(HeadError) as caught:
        read_request(*one_by_one(padded(1001)), limits=limits)
    assert caught.value.reason is Reason.HEAD_TOO_LARGE


def test_bytes_behind_the_head_do_not_count_against_its_limit() -> None:
    reader = RequestReader(Limits(bytes=1000))
    assert reader.feed(padded(1000) + b"y" * 5000) is not None
    assert reader.rest == b"y" * 5000


def test_the_limit_of_fields_is_exact() -> None:
    line = b"CONNECT a.example:443 HTTP/1.1\r\n"
    assert read_request(line + b"A: b\r\n" * 100 + b"\r\n") is not None
    assert refusal(line + b"A: b\r\n" * 101 + b"\r\n") is Reason.HEAD_TOO_LARGE
    assert refusal(line + b"A: b\r\n" * 100_000) is Reason.HEAD_TOO_LARGE


def test_a_head_without_end_is_refused_when_the_limit_is_passed_however_it_comes() -> None:
    reader = RequestReader()
    reader.feed(b"CONNECT a.example:443 HTTP/1.1\r\nX: ")
    for _ in range(16):
        assert reader.feed(b"x" * 1000) is None
    with pytest.raises(HeadError) as caught:
        reader.feed(b"x" * 1000)
    assert caught.value.reason is Reason.HEAD_TOO_LARGE


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[left:right] for left, right in pairwise(marks)]


def outcome(pieces: list[bytes]) -> tuple[RequestHead | None, bytes] | Reason:
    reader, behind = RequestReader(), b""
    head = None
    try:
        for piece in pieces:
            if head is None:
                head = reader.feed(piece)
                behind = reader.rest
            else:
                behind += piece
    except HeadError as error:
        return error.reason
    return head, behind


heads = st.one_of(
    st.sampled_from([GOOD, GOOD + b"behind\r\n\r\n", padded(400)]),
    st.sampled_from(BAD_LINE_ENDS),
    st.sampled_from([line + b"\r\nA: b\r\n\r\n" for line in BAD_LINES]),
    st.lists(
        st.sampled_from([b"CONNECT", b" ", b"a:1", b"HTTP/1.1", b"\r\n", b"\r", b"\n", b"A: b", b"\x00", b"\t"])
    ).map(b"".join),
    st.binary(max_size=60),
)


@given(heads, st.lists(st.integers(0, 500), max_size=6))
def test_any_split_of_any_bytes_gives_the_same_outcome(data: bytes, cuts: list[int]) -> None:
    assert outcome(pieces_of(data, cuts)) == outcome([data])


# Answers


def read_answer(*pieces: bytes, limits: Limits | None = None) -> tuple[ResponseHead | None, bytes]:
    reader = ResponseReader(limits)
    head = None
    for piece in pieces:
        assert head is None
        head = reader.feed(piece)
    return head, reader.rest


def test_an_answer_is_read_with_status_phrase_and_fields() -> None:
    head, rest = read_answer(ANSWER + b"early bytes")
    assert head == ResponseHead(200, "Connection established", (("via", "1.1 proxy"),))
    assert head.first("via") == "1.1 proxy"
    assert head.first("missing") == ""
    assert rest == b"early bytes"


@pytest.mark.parametrize("line", [b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 407 Proxy \xfcber"])
def test_ordinary_status_lines_are_taken(line: bytes) -> None:
    head, _ = read_answer(line + b"\r\n\r\n")
    assert head is not None
    assert head.status in {200, 407}


@pytest.mark.parametrize(
    "data",
    [b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1  200 OK\r\n\r\n",
     b"HTTP/1.1 600 X\r\n\r\n", b"HTTP/1.1 000 X\r\n\r\n", b"HTTP/1.1 +20 X\r\n\r\n", b"HTTP/1.1 200OK\r\n\r\n",
     b"HTTP/1.2 200 OK\r\n\r\n", b"http/1.1 200 OK\r\n\r\n", b"HTTP/1.1 2\xb20 OK\r\n\r\n", b"<html>",
     b"\x15\x03\x01\x00\x02",
     b"SSH-2.0-x\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"\r\n\r\n", b"HTTP/1.1 200 OK\n\n", b"HTTP/1.1 200 OK\x00\r\n",
     b"HTTP/1.1 abc\r\n", b"ICY 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_answer_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(HeadError):
        read_answer(data)
    with pytest.raises(HeadError):
        read_answer(*one_by_one(data))


def test_an_answer_that_switches_protocols_is_the_last_of_http() -> None:
    reader = ResponseReader()
    head = reader.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nrest")
    assert head is not None
    assert (head.status, head.first("upgrade"), reader.rest) == (101, "x", b"rest")


def test_interim_answers_are_passed_over_however_they_are_split() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ANSWER
    whole = read_answer(data)
    assert whole[0] is not None
    assert whole[0].status == 200
    for position in range(1, len(data)):
        assert read_answer(data[:position], data[position:]) == whole
    assert read_answer(*one_by_one(data)) == whole


def test_thousands_of_interim_answers_at_once_do_no_harm() -> None:
    head, rest = read_answer(b"HTTP/1.1 100 \r\n\r\n" * 8000 + ANSWER + b"rest")
    assert head is not None
    assert (head.status, rest) == (200, b"rest")
    assert read_answer(b"HTTP/1.1 100 \r\n\r\n" * 8000)[0] is None


def test_an_answer_of_64_kib_is_read_and_a_larger_one_refused() -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nX: "
    exact = head + b"x" * (64 * 1024 - len(head) - 4) + b"\r\n\r\n"
    assert read_answer(exact)[0] is not None
    with pytest.raises(HeadError) as caught:
        read_answer(exact.replace(b"X: ", b"X: x"))
    assert caught.value.reason is Reason.HEAD_TOO_LARGE


# Writing

field_names = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)
field_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)


@given(st.lists(st.tuples(field_names, field_values), max_size=8).map(tuple))
def test_fields_that_were_written_are_read_back(fields: Fields) -> None:
    head = read_request(b"CONNECT a.example:443 HTTP/1.1\r\n" + format_fields(fields) + b"\r\n")
    assert head is not None
    assert head.fields == tuple((name.lower(), value.strip(" \t")) for name, value in fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [("A", "b\r\nEvil: c"), ("A", "b\r\n\r\nbody"), ("A", "b\nc"), ("A", "b\rc"), ("A", "b\x00"), ("A", "b\r\n"),
     ("A\r\nEvil", "c"), ("A: b\r\nEvil", "c"), ("", "v"), ("A B", "v"), ("A:", "v\x0b"), ("Ä", "v"), ("A", "\u20ac"),
     ("A", "\u010a")],
)  # fmt: skip
def test_a_field_that_would_break_out_of_its_line_is_not_written(name: str, value: str) -> None:
    with pytest.raises(ValueError):
        format_fields(((name, value),))
