"""Reading and rewriting of absolute-form requests, by examples and by properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.proxy.absolute_form import parse_absolute, response_fields
from arcgate.core.names import parse_target
from arcgate.wire.heads import HeadError, RequestHead, RequestReader

NAMES = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z]{2,8}){1,3}", fullmatch=True)
PATHS = st.from_regex(r"(/[!-\"$->@-\[\]-~]{0,20})?(\?[!-\"$-\[\]-~]{0,20})?", fullmatch=True)


def head(raw: bytes) -> RequestHead:
    found = RequestReader().feed(raw)
    assert found is not None
    return found


def get(uri: str, host: str) -> RequestHead:
    return head(f"GET {uri} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def test_host_and_path_are_taken_from_the_uri() -> None:
    request = parse_absolute(get("http://Web.Example.COM/a/b?c=d", "web.example.com"))
    assert request.target == parse_target("web.example.com:80")
    assert request.path == b"/a/b?c=d"
    assert request.fields == (("Host", "web.example.com"), ("Via", "1.1 arcproxy"))
    assert request.uri == b"http://web.example.com/a/b?c=d"


@pytest.mark.parametrize(
    ("uri", "host", "path"),
    [
        ("http://web.example.com", "web.example.com", b"/"),
        ("http://web.example.com?q", "web.example.com:80", b"/?q"),
        ("http://web.example.com:8080/", "web.example.com:8080", b"/"),
        ("HTTP://[2001:db8::1]:81/", "[2001:db8:0::1]:81", b"/"),
        ("http://192.0.2.1/%2e%2e//x", "192.0.2.1", b"/%2e%2e//x"),
    ],
)
def test_spellings_that_are_proper_are_carried(uri: str, host: str, path: bytes) -> None:
    request = parse_absolute(get(uri, host))
    assert request.path == path
    assert request.fields[0] == ("Host", request.host_field)


@given(NAMES, st.integers(1, 65535), PATHS)
def test_the_normalised_form_reads_as_the_same_request(name: str, port: int, path: str) -> None:
    first = parse_absolute(get(f"http://{name}:{port}{path}", f"{name}:{port}"))
    again = parse_absolute(get(first.uri.decode(), first.host_field))
    assert again == first


@given(st.binary(max_size=60).filter(lambda data: not data.lower().startswith(b"http://")))
def test_nothing_but_an_http_uri_is_read(target: bytes) -> None:
    with pytest.raises(HeadError):
        parse_absolute(RequestHead("GET", target, 1, (("host", "a.example.com"),)))


@given(st.text(alphabet="@\\#", min_size=1, max_size=3), NAMES, NAMES)
def test_a_uri_whose_host_could_be_read_in_two_ways_is_refused(odd: str, name: str, other: str) -> None:
    with pytest.raises(HeadError):
        parse_absolute(RequestHead("GET", f"http://{name}{odd}{other}/".encode(), 1, (("host", name),)))


def test_fields_named_by_connection_stay_here() -> None:
    request = parse_absolute(
        head(
            b"GET http://a.example.com/ HTTP/1.1\r\nHost: a.example.com\r\n"
            b"Connection: X-One, x-TWO\r\nX-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nVia: 1.1 before\r\n\r\n"
        )
    )
    assert request.fields == (
        ("Host", "a.example.com"),
        ("x-three", "3"),
        ("via", "1.1 before"),
        ("Via", "1.1 arcproxy"),
    )


def test_a_request_keeps_the_one_framing_that_it_has() -> None:
    chunked = b"POST http://a.example.com/ HTTP/1.1\r\nHost: a.example.com\r\nTransfer-Encoding: Chunked\r\n\r\n"
    assert ("Transfer-Encoding", "chunked") in parse_absolute(head(chunked)).fields
    sized = b"POST http://a.example.com/ HTTP/1.1\r\nHost: a.example.com\r\nContent-Length: 007\r\n\r\n"
    assert ("Content-Length", "007") in parse_absolute(head(sized)).fields


def test_http_1_0_needs_no_host_and_has_no_chunks() -> None:
    assert parse_absolute(head(b"GET http://a.example.com/ HTTP/1.0\r\n\r\n")).host_field == "a.example.com"
    with pytest.raises(HeadError, match="no Transfer-Encoding"):
        parse_absolute(head(b"GET http://a.example.com/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"))


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("https://a.example.com/", "reached by CONNECT"),
        ("ftp://a.example.com/", "the scheme ftp is not carried"),
        ("/index.html", "no web server"),
        ("http://user@a.example.com/", "malformed"),
    ],
)
def test_a_refusal_says_what_is_wrong(uri: str, words: str) -> None:
    with pytest.raises(HeadError, match=words):
        parse_absolute(get(uri, "a.example.com"))


def test_a_responses_hop_by_hop_fields_stay_here() -> None:
    fields = (
        ("connection", "keep-alive, x-private"),
        ("keep-alive", "timeout=5"),
        ("x-private", "1"),
        ("proxy-authenticate", "Basic"),
        ("content-length", "5"),
        ("content-type", "text/plain"),
    )
    assert response_fields(fields) == (
        ("content-type", "text/plain"),
        ("Content-Length", "5"),
        ("Via", "1.1 arcproxy"),
    )


@pytest.mark.parametrize(
    "fields",
    [
        (("content-length", "5"), ("transfer-encoding", "chunked")),
        (("content-length", "5"), ("content-length", "5")),
        (("content-length", "-5"),),
        (("transfer-encoding", "gzip, chunked"),),
    ],
)
def test_a_response_that_could_be_framed_in_two_ways_is_refused(fields: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(HeadError):
        response_fields(fields)
