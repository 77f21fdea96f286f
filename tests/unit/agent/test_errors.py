"""Errors of azcmagent: code, exit code and what is printed."""

import pytest

from arcgate.agent.errors import TITLES, AzcmError, as_azcm
from arcgate.core.errors import ArcgateError, Hop, HopError, InputError, StateError


@pytest.mark.parametrize("number", sorted(TITLES))
def test_the_exit_code_is_the_number_of_the_code(number: int) -> None:
    error = AzcmError(number, "It failed.")
    assert error.code == f"AZCM{number:04}"
    assert error.exit_code == number
    assert 0 < number < 256


def test_the_lines_are_code_with_title_sentence_cause_and_remedy() -> None:
    error = AzcmError(67, "Connected already.", cause="as\nbox", remedy="Disconnect.")
    assert error.lines() == [
        "Exit Code: AZCM0067: Already Connected",
        "Error: Connected already.",
        "Cause: as box",
        "Remedy: Disconnect.",
    ]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (HopError(Hop.DNS, "DNS_FAILED", "No."), 26),
        (InputError("X", "No."), 23),
        (StateError("X", "No."), 70),
        (AzcmError(44, "No."), 44),
    ],
)
def test_other_errors_get_the_number_of_their_kind(error: ArcgateError, number: int) -> None:
    assert as_azcm(error).number == number
