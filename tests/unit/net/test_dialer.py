"""The pages of refusals: how much of them is taken, and when they are whole."""

import pytest

from arcgate.net.dialer import LARGEST_PAGE, LARGEST_REFUSAL, MOST_PIECES, Page
from arcgate.wire.heads import ResponseHead


def page(*fields: tuple[str, str], status: int = 407) -> Page:
    return Page(ResponseHead(status, "No", fields))


def test_a_page_of_dust_is_given_up_early() -> None:
    dusty = page(("transfer-encoding", "chunked"))
    taken = 0
    while dusty.take(b"1\r\nx\r\n" * 1000):
        taken += 1000
    assert taken <= MOST_PIECES
    assert not dusty.is_whole


@pytest.mark.parametrize(("status", "most"), [(407, LARGEST_PAGE), (403, LARGEST_REFUSAL)])
def test_only_where_a_request_follows_a_large_page_is_passed_over(status: int, most: int) -> None:
    large = page(("content-length", "999999999"), status=status)
    taken = 0
    while large.take(b"x" * 4096):
        taken += 4096
    assert taken < most <= taken + 4096
    assert len(large.beginning) <= LARGEST_REFUSAL


@pytest.mark.parametrize(
    ("fields", "data", "whole"),
    [
        ((("content-length", "3"),), b"abc", True),
        ((("content-length", "3"),), b"abcd", False),
        ((("content-length", "0"),), b"", True),
        ((("transfer-encoding", "Chunked"),), b"3\r\nabc\r\n0\r\n\r\n", True),
        ((("transfer-encoding", "chunked"),), b"ZZ\r\n", False),
        ((), b"abc", False),
    ],
)
def test_a_page_is_whole_when_nothing_is_missing_and_nothing_follows(
    fields: tuple[tuple[str, str], ...], data: bytes, whole: bool
) -> None:
    one = page(*fields)
    one.take(data)
    assert one.is_whole is whole
