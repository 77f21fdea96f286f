"""Errors that reach users are one line with code, sentence, cause and remedy."""

import pytest

from arcgate.core.errors import ArcgateError, ConfigurationError, Hop, HopError, InputError, Place, StateError


def test_an_error_prints_code_sentence_cause_and_remedy_on_one_line() -> None:
    error = ArcgateError("SOME_CODE", "It failed.", cause="first\nsecond\r\n third", remedy="Do this.")
    assert error.one_line() == "SOME_CODE: It failed. Cause: first second third Remedy: Do this."


def test_missing_parts_are_left_out() -> None:
    assert ArcgateError("CODE", "It failed.").one_line() == "CODE: It failed."
    assert str(ArcgateError("CODE", "It failed.", cause="c", remedy="r")) == "It failed."


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        (Place("a.toml"), "a.toml"),
        (Place("a.toml", 3), "a.toml:3"),
        (Place("a.toml", 3, "cloud.domain"), "a.toml:3 (cloud.domain)"),
        (Place("a.toml", 0, "cloud.domain"), "a.toml (cloud.domain)"),
    ],
)
def test_a_place_names_file_line_and_key_as_far_as_they_are_known(place: Place, shown: str) -> None:
    assert str(place) == shown
    error = ConfigurationError(place, "It is wrong.", remedy="Correct it.")
    assert error.one_line() == f"CONFIGURATION_INVALID: {shown}: It is wrong. Remedy: Correct it."


def test_the_tree_of_errors() -> None:
    assert issubclass(ConfigurationError, InputError)
    for kind in (InputError, HopError, StateError):
        assert issubclass(kind, ArcgateError)
    assert HopError(Hop.PROXY, "C", "s").hop is Hop.PROXY
