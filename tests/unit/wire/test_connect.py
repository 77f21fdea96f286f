"""CONNECT requests, their answers and refusals."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.names import Target, parse_authority
from arcgate.core.verdicts import EXPLANATIONS, Reason, Verdict
from arcgate.wire.connect import (
    CORRELATION_FIELD,
    REASON_FIELD,
    ConnectRequest,
    Refusal,
    format_answer,
    format_connect,
    format_established,
    format_refusal,
    parse_connect,
    parse_refusal,
)
from arcgate.wire.heads import Fields, HeadError, RequestReader, ResponseReader


def parse(data: bytes) -> ConnectRequest:
    head = RequestReader().feed(data)
    assert head is not None
    return parse_connect(head)


def connect(*fields: str, target: str = "a.example:443", version: str = "1.1") -> bytes:
    lines = [f"CONNECT {target} HTTP/{version}", *fields]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def refusal(data: bytes) -> HeadError:
    with pytest.raises(HeadError) as caught:
        parse(data)
    return caught.value


def test_a_connect_names_its_target() -> None:
    assert parse(connect("Host: a.example:443")).target == parse_authority(b"a.example:443")
    assert parse(connect("Host: [::1]:8443", target="[::1]:8443")).target == parse_authority(b"[::1]:8443")


@pytest.mark.parametrize(
    "host", ["a.example:443", "a.example", "A.Example:443", "a.example.:443", "a.example.", "A.EXAMPLE"]
)
def test_a_host_field_that_means_the_target_is_taken(host: str) -> None:
    assert parse(connect(f"Host: {host}")).target.authority == "a.example:443"
    assert parse(connect("Host: a.example:443", target="A.EXAMPLE.:443")).target.authority == "a.example:443"


def test_a_host_field_of_an_ipv6_target_may_leave_the_port_out() -> None:
    assert parse(connect("Host: [::1]", target="[::1]:443")).target.port == 443


@pytest.mark.parametrize(
    "fields",
    [(), ("Host: b.example:443",), ("Host: a.example:80",), ("Host: a.example:443", "Host: a.example:443"),
     ("Host: a.example:443", "Host: b.example:443"), ("Host:",), ("Host: a.example:",),
     ("Host: a.example:443, b.example",),
     ("Host: a.example:0443",), ("Host: a.example:443 x",), ("Host: user@a.example:443",), ("Host: ::1",),
     ("Host: https://a.example",), ("Host: a.example:65979",), ("Host: a.example:\xb2",), ("Host: *",)],
)  # fmt: skip
def test_a_missing_doubled_or_differing_host_field_is_refused(fields: tuple[str, ...]) -> None:
    error = refusal(connect(*fields))
    assert error.reason is Reason.REQUEST_MALFORMED
    assert "Host" in error.detail


def test_http_1_0_may_leave_the_host_field_out_but_not_contradict_itself() -> None:
    assert parse(connect(version="1.0")).target.authority == "a.example:443"
    assert refusal(connect("Host: b.example:443", version="1.0")).reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE", "FOO", "CONNECTX", "CONNEC"])
def test_another_method_is_not_allowed(method: str) -> None:
    data = connect("Host: a.example:443").replace(b"CONNECT", method.encode(), 1)
    assert refusal(data).reason is Reason.METHOD_NOT_ALLOWED


@pytest.mark.parametrize(
    "target", ["a.example", "http://a.example/", "/", "*", "a.example:0", "a.example:65536", "127.1:443",
    "user:pw@h:443",
               "[::1%25lo]:443", "%61.example:443", "a.example:443/", "urn:x", "file:///etc/passwd"]
)  # fmt: skip
def test_a_target_that_is_not_host_and_port_is_refused_and_the_detail_says_why(target: str) -> None:
    error = refusal(connect("Host: a.example:443", target=target))
    assert error.reason is Reason.REQUEST_MALFORMED
    assert "request target" in error.detail


@pytest.mark.parametrize(
    "field",
    ["Content-Length: 5", "Content-Length: -1", "Content-Length: +0", "Content-Length: 00", "Content-Length: 0x0",
     "Content-Length: 0, 0", "Content-Length:", "Content-Length: 9223372036854775808", "Content-Length: 1_0",
     "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Transfer-Encoding:",
     "Transfer-Encoding: \x85chunked"],
)  # fmt: skip
def test_a_connect_with_a_body_is_refused(field: str) -> None:
    assert refusal(connect("Host: a.example:443", field)).reason is Reason.REQUEST_MALFORMED
    assert refusal(connect("Host: a.example:443", "Content-Length: 0", field)).reason is Reason.REQUEST_MALFORMED


def test_a_content_length_of_zero_is_harmless() -> None:
    assert parse(connect("Host: a.example:443", "Content-Length: 0")).target.port == 443


@pytest.mark.parametrize("given_id", ["abcdefgh", "A" * 64, "0b7a2c1e-1111-4222-8333-444455556666"])
def test_a_correlation_id_of_letters_digits_and_hyphens_is_kept(given_id: str) -> None:
    assert parse(connect("Host: a.example:443", f"Arcgate-Correlation-Id: {given_id}")).correlation_id == given_id


@pytest.mark.parametrize(
    "given_id", ["", "short", "A" * 65, "with space", "abc_defgh", '{"a":"json"}', "abcdefg\xe4", "a.b.c.d.e"]
)
def test_another_correlation_id_is_dropped(given_id: str) -> None:
    assert parse(connect("Host: a.example:443", f"Arcgate-Correlation-Id: {given_id}")).correlation_id == ""


def test_two_correlation_ids_are_none() -> None:
    field = "Arcgate-Correlation-Id: abcdefgh"
    assert parse(connect("Host: a.example:443", field, field)).correlation_id == ""


OFFER = ("Host: a.example:443", "Arcgate-Frames: 1", "Arcgate-Hand-Over: bulk")


@pytest.mark.parametrize(
    ("fields", "holds"),
    [
        ((*OFFER, "Arcgate-Hold-End: 1"), True),
        (OFFER, False),
        ((*OFFER, "Arcgate-Hold-End: 2"), False),
        ((*OFFER, "Arcgate-Hold-End: 1", "Arcgate-Hold-End: 1"), False),
        ((*OFFER[:2], "Arcgate-Hold-End: 1"), False),
        ((OFFER[0], OFFER[2], "Arcgate-Hold-End: 1"), False),
    ],
)
def test_ends_are_held_where_directions_may_go_raw_and_a_proxy_is_named(fields: tuple[str, ...], holds: bool) -> None:
    assert parse(connect(*fields)).holds_end is holds


hosts = st.one_of(
    st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z])?(\.[a-z]{1,8}){0,3}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)
targets = st.builds(lambda host, port: parse_authority(f"{host}:{port}".encode()), hosts, st.integers(1, 65535))
correlation_ids = st.from_regex(r"[A-Za-z0-9-]{8,64}", fullmatch=True)


@given(targets, correlation_ids)
def test_a_connect_that_was_written_is_read_back(target: Target, correlation_id: str) -> None:
    data = format_connect(target, ((CORRELATION_FIELD, correlation_id),))
    assert parse(data) == ConnectRequest(target, correlation_id)


def test_an_answer_that_opens_the_tunnel_is_a_200_with_the_correlation_id_and_no_more() -> None:
    reader = ResponseReader()
    head = reader.feed(format_established("abcdefgh"))
    assert head is not None
    assert head.status == 200
    assert head.fields == (("arcgate-correlation-id", "abcdefgh"),)
    assert reader.rest == b""


def read_refusal(data: bytes) -> tuple[int, Fields, bytes]:
    reader = ResponseReader()
    head = reader.feed(data)
    assert head is not None
    assert head.first("content-length") == str(len(reader.rest))
    assert head.first("connection") == "close"
    return head.status, head.fields, reader.rest


@pytest.mark.parametrize("reason", EXPLANATIONS)
def test_a_refusal_is_read_back_with_code_sentence_remedy_and_correlation_id(reason: Reason) -> None:
    data = format_refusal(Verdict(reason, detail="because"), "abcdefgh", "a.example:443")
    status, fields, body = read_refusal(data)
    explanation = EXPLANATIONS[reason]
    assert status == explanation.status
    assert parse_refusal(status, fields, body) == Refusal(
        explanation.status,
        reason,
        explanation.sentence,
        "because",
        explanation.remedy,
        "abcdefgh",
        retry_after=1 if explanation.status == 503 else 0,
    )
    assert json.loads(body)["error"] == {
        "code": reason,
        "message": explanation.sentence,
        "detail": "because",
        "remedy": explanation.remedy,
        "target": "a.example:443",
        "correlationId": "abcdefgh",
    }
    assert data.split(b"\r\n")[0].split(b" ", 2)[2] != b"Error"


@pytest.mark.parametrize(
    ("wait", "seconds"), [("120", 120), ("", 0), ("-1", 0), ("1 ", 0), ("\u0661", 0), ("9" * 7, 0)]
)
def test_when_to_try_again_is_read_where_it_is_a_number_of_seconds(wait: str, seconds: int) -> None:
    assert parse_refusal(503, (("retry-after", wait),), b"").retry_after == seconds


def test_a_refusal_says_when_to_try_again_if_that_is_known() -> None:
    data = format_refusal(Verdict(Reason.DAY_USED_UP, retry_after=3600), "abcdefgh")
    status, fields, body = read_refusal(data)
    assert parse_refusal(status, fields, body).retry_after == 3600


def test_a_refused_method_names_the_allowed_one_and_overload_a_time_to_retry() -> None:
    _, fields, _ = read_refusal(format_refusal(Verdict(Reason.METHOD_NOT_ALLOWED), "abcdefgh"))
    assert ("allow", "CONNECT") in fields
    for reason in (Reason.NO_POLICY, Reason.AUDIT_UNAVAILABLE, Reason.LIMIT_REACHED, Reason.DRAINING):
        _, fields, _ = read_refusal(format_refusal(Verdict(reason), "abcdefgh"))
        assert ("retry-after", "1") in fields


@given(st.text(max_size=500), st.text(max_size=500))
def test_no_text_of_a_peer_breaks_out_of_a_refusal(detail: str, target: str) -> None:
    status, _fields, body = read_refusal(
        format_refusal(Verdict(Reason.REQUEST_MALFORMED, detail=detail), "abcdefgh", target)
    )
    assert status == 400
    assert body.isascii()
    error = json.loads(body)["error"]
    assert error["detail"].isprintable()
    assert len(error["detail"]) <= 300
    assert len(error["target"]) <= 300


def test_an_answer_with_an_unknown_status_is_still_well_formed() -> None:
    status, _, body = read_refusal(format_answer(418, b"x", (), "text/plain"))
    assert (status, body) == (418, b"x")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Access denied</html>", b"null", b"[]", b"5", b'"x"', b'{"error": null}', b'{"error": []}',
    b'{"error": "x"}',
     b'{"error": {"message": {"a": [1]}, "detail": 7, "remedy": null}}', b"\xff\xfe\x00", b"{" * 100_000,
     b"[" * 100_000,
     b'{"error": {"message": ' + b"1" * 5000 + b"}}", b"\xef\xbb\xbf{}", b'{"error": {'],
)  # fmt: skip
def test_a_strangers_refusal_is_read_as_far_as_it_goes(body: bytes) -> None:
    assert parse_refusal(403, (("x", "y"),), body) == Refusal(403, "", "", "", "", "")


def test_no_depth_of_nesting_in_a_strangers_body_is_an_error() -> None:
    for depth in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        body = b'{"error": {"message": ' + b"[" * depth + b"]" * depth + b"}}"
        assert parse_refusal(403, (), body).message == ""


def test_a_strangers_text_is_made_printable_and_short() -> None:
    body = json.dumps({"error": {"message": "a\x1b[2J\n" + "b" * 1000}}).encode()
    refused = parse_refusal(403, ((REASON_FIELD.lower(), "first"), (REASON_FIELD.lower(), "second")), body)
    assert refused.message.isprintable()
    assert len(refused.message) == 300
    assert refused.code == "first"
