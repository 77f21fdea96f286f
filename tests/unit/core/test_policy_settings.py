"""Policy settings: strict to read, the same after a round trip, and accounts spelled in full."""

from typing import Any

import pytest

from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.errors import InputError
from arcgate.core.policy_settings import PLAIN, Mode, check_policy, parse_policy, render_policy

FULL: dict[str, Any] = {
    "mode": "audit",
    "auditedFeatures": ["Storage"],
    "parameters": {"vault": ["MINE"]},
    "pins": {"*.Blob.core.windows.net": ["Mine", "yours.blob.core.windows.net", "mine"]},
    "serverName": "enforce",
}


def test_nothing_said_is_everything_enforced() -> None:
    assert parse_policy(None) is PLAIN
    assert parse_policy({}) == PLAIN
    assert PLAIN.mode is Mode.ENFORCE


def test_accounts_become_full_names_once_each_in_lower_case() -> None:
    settings = parse_policy(FULL)
    assert settings.pins == (
        ("*.blob.core.windows.net", ("mine.blob.core.windows.net", "yours.blob.core.windows.net")),
    )
    assert settings.parameters == (("vault", ("mine",)),)
    assert parse_policy(render_policy(settings)) == settings


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "off"},
        {"serverName": "yes"},
        {"unknown": 1},
        {"auditedFeatures": "Storage"},
        {"auditedFeatures": [1]},
        {"parameters": ["vault"]},
        {"parameters": {"vault": "mine"}},
        {"pins": {"blob.core.windows.net": ["mine"]}},
        {"pins": {"*.com": ["mine"]}},
        {"pins": {"*.blob.core.windows.net:80": ["mine"]}},
        {"pins": {"*.blob.core.windows.net": ["mine.example.com"]}},
        {"pins": {"*.blob.core.windows.net": ["*"]}},
        {"pins": {"*.blob.core.windows.net": ["x"] * 2001}},
    ],
)
def test_what_is_wrong_is_an_input_error(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        parse_policy({**FULL, **change})
    assert caught.value.code == "POLICY_INVALID"


@pytest.mark.parametrize("document", ["audit", [], 1])
def test_what_is_no_object_is_an_input_error(document: Any) -> None:
    with pytest.raises(InputError):
        parse_policy(document)


def test_only_placeholders_of_the_catalogue_can_be_filled_in() -> None:
    check_policy(parse_policy(FULL), shipped_catalogue())
    with pytest.raises(InputError) as caught:
        check_policy(parse_policy({"parameters": {"nope": ["a"]}}), shipped_catalogue())
    assert caught.value.code == "PARAMETER_INVALID"
