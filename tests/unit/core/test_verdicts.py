"""Reason codes and their explanations."""

import re

import pytest

from arcgate.core.verdicts import ALLOWING, ENDINGS, EXPLANATIONS, EndReason, Reason


def test_every_refusal_is_explained_and_nothing_else() -> None:
    assert set(EXPLANATIONS) == set(Reason) - ALLOWING


def test_every_ending_is_explained() -> None:
    assert set(ENDINGS) == set(EndReason)


@pytest.mark.parametrize("reason", EXPLANATIONS)
def test_an_explanation_is_a_sentence_with_a_remedy_and_a_fitting_status(reason: Reason) -> None:
    explanation = EXPLANATIONS[reason]
    assert explanation.status in {400, 403, 405, 408, 431, 500, 502, 503, 504}
    assert re.fullmatch(r"[A-Z][^\n]*\.", explanation.sentence)
    assert re.fullmatch(r"[A-Z][^\n]*\.", explanation.remedy)
    assert explanation.sentence != explanation.remedy
    assert explanation.sentence.isascii()
    assert explanation.remedy.isascii()


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        (
            403,
            {Reason.CERTIFICATE_REQUIRED, Reason.NOT_ASSOCIATED, Reason.TARGET_NOT_ALLOWED, Reason.ADDRESS_NOT_ALLOWED},
        ),
        (502, {Reason.DNS_FAILED, Reason.TARGET_REFUSED, Reason.TARGET_UNREACHABLE}),
        (503, {Reason.NO_POLICY, Reason.AUDIT_UNAVAILABLE, Reason.LIMIT_REACHED, Reason.DRAINING}),
        (504, {Reason.TARGET_TIMEOUT}),
    ],
)
def test_a_refusal_says_by_its_status_whose_matter_it_is(status: int, reasons: set[Reason]) -> None:
    assert {EXPLANATIONS[reason].status for reason in reasons} == {status}


@pytest.mark.parametrize("code", [*Reason, *EndReason])
def test_codes_are_lower_case_words(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
