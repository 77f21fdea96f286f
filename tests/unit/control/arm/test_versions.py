import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.control.arm.versions import HYBRID_COMPUTE, negotiate
from arcgate.control.failures import ApiError


@pytest.mark.parametrize("version", HYBRID_COMPUTE)
def test_a_known_version_is_itself(version: str) -> None:
    assert negotiate([version]) == version
    assert negotiate([version.upper()]) == version


@given(st.dates())
def test_every_date_has_a_nearest_known_version(day: object) -> None:
    assert negotiate([str(day)]) in HYBRID_COMPUTE


def test_the_nearest_version_answers() -> None:
    assert negotiate(["2099-01-01"]) == "2026-07-15"
    assert negotiate(["2025-01-14"]) == "2025-01-13"
    assert negotiate(["1999-01-01-preview"]) == "2019-03-18-preview"


@pytest.mark.parametrize(
    "values", [["2024-1-1"], ["2024-02-30"], ["x"], ["2024-01-01 "], ["2024-01-01\n"], ["٢٠٢٤-01-01"]]
)
def test_malformed_versions_are_refused(values: list[str]) -> None:
    with pytest.raises(ApiError) as caught:
        negotiate(values)
    assert caught.value.code == "InvalidApiVersionParameter"


@pytest.mark.parametrize("values", [[], [""], ["", ""]])
def test_a_missing_version_is_refused(values: list[str]) -> None:
    with pytest.raises(ApiError) as caught:
        negotiate(values)
    assert caught.value.code == "MissingApiVersionParameter"
