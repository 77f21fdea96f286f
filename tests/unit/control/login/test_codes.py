import pytest

from arcgate.control.login.codes import ALPHABET, CODE_LETTERS, normal_code, shown_code


def test_codes_are_long_and_unambiguous() -> None:
    assert CODE_LETTERS >= 8
    assert not set(ALPHABET) & set("AEIOU01Y")


@pytest.mark.parametrize("typed", ["BCD-FGH-JKL", "bcdfghjkl", " bcd fgh jkl ", "bcd--fgh jkl"])
def test_a_code_is_read_however_it_is_typed(typed: str) -> None:
    assert normal_code(typed) == "BCDFGHJKL"
    assert shown_code(normal_code(typed)) == "BCD-FGH-JKL"


@pytest.mark.parametrize("typed", ["", "BCD", "ABCDEFGHI", "BCDFGHJKLM", "BCDFGHJK%", "\u017fBCDFGHJK", "B" * 10_000])
def test_anything_else_is_no_code(typed: str) -> None:
    assert normal_code(typed) == ""
