"""GUIDs: which texts are some."""

import pytest

from arcgate.core.guids import is_guid, is_lower_guid

LOWER = "0f8fad5b-d9cb-469f-a165-70867728950e"


def test_a_guid_is_one_in_any_case_and_the_strict_form_in_lower_case_alone() -> None:
    assert is_guid(LOWER)
    assert is_guid(LOWER.upper())
    assert is_lower_guid(LOWER)
    assert not is_lower_guid(LOWER.upper())


@pytest.mark.parametrize(
    "text", ["", LOWER[:-1], f"{LOWER}0", f"{LOWER}\n", f"{{{LOWER}}}", LOWER.replace("-", ""), f"\uff10{LOWER[1:]}"]
)
def test_what_only_looks_like_a_guid_is_none(text: str) -> None:
    assert not is_guid(text)
    assert not is_lower_guid(text)
