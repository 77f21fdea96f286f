"""The lines of a waiting channel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.incoming import DECLINED
from arcgate.core.verdicts import Reason
from arcgate.wire.incoming import (
    LONGEST_LINE,
    OPENED,
    PONG,
    Declined,
    LineError,
    LineReader,
    Opened,
    OpenRequest,
    Ping,
    Pong,
    format_declined,
    format_open,
    format_ping,
    parse_answer,
    parse_request,
)


@given(st.integers(1, 65_535), st.text(max_size=400))
def test_a_request_of_any_requester_is_one_short_line_that_reads_back(port: int, requester: str) -> None:
    line = format_open(OpenRequest(port, "correlation-1", requester))
    assert line.count(b"\n") == 1
    assert len(line) <= LONGEST_LINE
    parsed = parse_request(line[:-1])
    assert isinstance(parsed, OpenRequest)
    assert (parsed.port, parsed.correlation_id) == (port, "correlation-1")
    assert parsed.requester.isprintable()


def test_a_requester_s_name_arrives_as_it_is() -> None:
    line = format_open(OpenRequest(22, "correlation-1", "ann@example.com 1234 Ä"))
    parsed = parse_request(line[:-1])
    assert isinstance(parsed, OpenRequest)
    assert parsed.requester == "ann@example.com 1234 Ä"


def test_pings_and_answers_read_back() -> None:
    assert parse_request(format_ping(30)[:-1]) == Ping(30)
    assert isinstance(parse_answer(PONG[:-1]), Pong)
    assert isinstance(parse_answer(OPENED[:-1]), Opened)
    for reason in DECLINED:
        assert parse_answer(format_declined(reason)[:-1]) == Declined(reason)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"ping 0",
        b"ping 30 ",
        b"ping \xd9\xa3",
        b"PING 30",
        b"open 0 correlation-1 ann",
        b"open 65536 correlation-1 ann",
        b"open 22 short ann",
        b"open 22 correlation-1 ",
        b"open 22 correlation-1 ann more",
        b"open 22 correlation-1 a\tb",
        b"open 022 correlation-1 ann",
    ],
)
def test_what_no_gateway_says_is_an_error(line: bytes) -> None:
    with pytest.raises(LineError):
        parse_request(line)


@pytest.mark.parametrize("line", [b"", b"pong ", b"opened\r", b"declined", b"declined draining", b"declined Limit"])
def test_what_no_machine_says_is_an_error(line: bytes) -> None:
    assert Reason.DRAINING not in DECLINED
    with pytest.raises(LineError):
        parse_answer(line)


@given(st.lists(st.integers(1, 7), max_size=30))
def test_lines_are_taken_one_by_one_however_they_are_cut_and_the_rest_stays(cuts: list[int]) -> None:
    data, reader, lines, position = PONG + PONG + OPENED, LineReader(), [], 0
    for size in [*cuts, len(data)]:
        reader.feed(data[position : position + size])
        position += size
        while (line := reader.take()) is not None:
            lines.append(line)
    assert lines == [b"pong", b"pong", b"opened"]
    reader.feed(OPENED + b"SSH-2.0\nmore")
    assert reader.take() == b"opened"
    assert reader.rest == b"SSH-2.0\nmore"


def test_a_line_without_end_is_an_error_before_it_fills_the_memory() -> None:
    reader = LineReader()
    reader.feed(b"x" * (LONGEST_LINE + 1))
    with pytest.raises(LineError):
        reader.take()
