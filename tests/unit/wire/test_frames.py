"""Frames of a channel: the same for every split, and refused when they are none."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.wire.frames import (
    FIN,
    LARGEST_PAYLOAD,
    LARGEST_REASON,
    Frame,
    FrameError,
    FrameReader,
    FrameType,
    format_data,
)


def format_reset(reason: bytes) -> bytes:
    """Return a frame that we only read: we close a channel rather than say why."""
    return bytes((FrameType.RESET,)) + len(reason).to_bytes(3, "big") + reason


def joined(frames: list[Frame]) -> tuple[bytes, list[Frame]]:
    """Return all payload of DATA frames, and the other frames."""
    data = b"".join(frame.payload for frame in frames if frame.type is FrameType.DATA)
    return data, [frame for frame in frames if frame.type is not FrameType.DATA]


def read(*pieces: bytes) -> tuple[bytes, list[Frame], bytes]:
    reader = FrameReader()
    frames = [frame for piece in pieces for frame in reader.feed(piece)]
    assert all(frame.payload for frame in frames if frame.type is FrameType.DATA)
    return *joined(frames), reader.rest


def test_frames_that_were_written_are_read_back() -> None:
    assert read(format_data(b"one") + format_data(b"two") + FIN) == (b"onetwo", [Frame(FrameType.FIN)], b"")
    assert read(format_data(b"x") + format_reset(b"target_reset")) == (
        b"x",
        [Frame(FrameType.RESET, b"target_reset")],
        b"",
    )


def test_what_follows_the_end_belongs_to_the_next_user_of_the_channel() -> None:
    following = b"CONNECT a.example:443 HTTP/1.1\r\n"
    assert read(FIN + following[:7], following[7:]) == (b"", [Frame(FrameType.FIN)], following)
    assert read(format_reset(b"x") + following)[2] == following


def test_every_single_split_gives_the_same() -> None:
    data = format_data(b"hello") + format_data(b"y" * 300) + FIN + b"rest"
    for position in range(len(data) + 1):
        assert read(data[:position], data[position:]) == read(data)
    assert read(*(bytes([one]) for one in data)) == read(data)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.booleans(), st.lists(st.integers(0, 400), max_size=8)
)
def test_any_frames_in_any_pieces_are_the_same(payloads: list[bytes], reset: bool, cuts: list[int]) -> None:
    data = b"".join(format_data(payload) for payload in payloads) + (format_reset(b"cut") if reset else FIN) + b"rest"
    marks = sorted({cut % len(data) for cut in cuts} | {0, len(data)})
    assert read(*(data[left:right] for left, right in pairwise(marks))) == read(data)
    assert read(data)[0] == b"".join(payloads)


@pytest.mark.parametrize(
    "data",
    [b"\x00\x00\x00\x00", b"\x00\x04\x00\x01", b"\x00\xff\xff\xff", b"\x01\x00\x00\x01", b"\x02\x00\x01\x00",
    b"\x03", b"\xff",
     b"\x16\x03\x01\x02", b"CONNECT", b"GET "],
)  # fmt: skip
def test_what_is_no_frame_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(data)
    with pytest.raises(FrameError):
        read(*(bytes([one]) for one in data))
    with pytest.raises(FrameError):
        FrameReader().feed(format_data(b"good") + data)


def test_the_largest_frames_are_read() -> None:
    assert read(format_data(b"x" * LARGEST_PAYLOAD))[0] == b"x" * LARGEST_PAYLOAD
    longest = b"r" * LARGEST_REASON
    assert read(format_reset(longest))[1] == [Frame(FrameType.RESET, longest)]


def test_a_reader_knows_whether_it_stands_between_frames() -> None:
    reader = FrameReader()
    assert reader.is_between_frames
    for piece, between in (
        (b"\x00", False),
        (b"\x00\x00\x02", False),
        (b"a", False),
        (b"b", True),
        (format_data(b"c"), True),
    ):
        reader.feed(piece)
        assert reader.is_between_frames is between


def test_data_is_passed_on_before_its_frame_is_complete() -> None:
    reader = FrameReader()
    assert reader.feed(format_data(b"abcdef")[:6]) == [Frame(FrameType.DATA, b"ab")]
    assert reader.feed(b"cd") == [Frame(FrameType.DATA, b"cd")]


def test_very_many_tiny_frames_at_once_take_linear_time() -> None:
    count = 200_000  # a megabyte: copying the rest after each frame would move 200 GB
    assert len(FrameReader().feed(format_data(b"x") * count)) == count
