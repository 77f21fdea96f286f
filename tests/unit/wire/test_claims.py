"""What Arc Proxy tells of a tunnel's process, and what a gateway takes down of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.names import parse_target
from arcgate.wire.claims import LONGEST_EXECUTABLE, PROCESS_FIELD, ProcessClaim, format_claim, read_claim
from arcgate.wire.connect import format_connect
from arcgate.wire.heads import Fields, RequestHead, RequestReader


def told(fields: Fields) -> str:
    head = RequestReader().feed(format_connect(parse_target("app.example:443"), fields))
    assert head is not None
    return read_claim(head)


def test_user_process_and_program_arrive() -> None:
    assert told(format_claim(ProcessClaim(1000, 4711, "/usr/bin/curl"))) == "uid 1000, pid 4711, /usr/bin/curl"


def test_a_process_that_was_not_found_leaves_the_user() -> None:
    assert told(format_claim(ProcessClaim(0))) == "uid 0"


def test_without_the_field_nothing_is_claimed() -> None:
    assert told(()) == ""


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**31 - 1), st.text(max_size=3 * LONGEST_EXECUTABLE))
def test_any_program_makes_a_bounded_field_and_a_bounded_printable_claim(user: int, process: int, name: str) -> None:
    fields = format_claim(ProcessClaim(user, process, name.encode(errors="replace").decode()))
    value = fields[0][1]
    assert value.isascii()
    assert value.isprintable()
    claim = told(fields)
    assert claim.startswith(f"uid {user}, pid {process}, ")
    assert claim.isprintable()
    assert len(claim) <= LONGEST_EXECUTABLE + 40


@pytest.mark.parametrize(
    "value",
    [
        "",
        "root",
        "uid=",
        "uid=-1",
        "uid=0; pid=1",
        "uid=0; pid=1; exe=/bin/sh; more=1",
        "uid=0; pid=1; exe=/bin/a b",
        "uid=0;pid=1;exe=/bin/sh",
        "uid=12345678901",
        "uid=\u0661",
        "uid=0; pid=1; exe=" + "x" * 2401,
    ],
)
def test_what_is_malformed_is_no_claim(value: str) -> None:
    assert read_claim(RequestHead("CONNECT", b"app.example:443", 1, ((PROCESS_FIELD.lower(), value),))) == ""


def test_two_claims_are_none() -> None:
    assert told(format_claim(ProcessClaim(1)) + format_claim(ProcessClaim(2))) == ""


def test_escapes_cannot_break_a_record_into_lines() -> None:
    assert "\n" not in read_claim(
        RequestHead("CONNECT", b"a:1", 1, ((PROCESS_FIELD.lower(), "uid=1; pid=2; exe=/a%0Ab%E2%80%AE"),))
    )
