"""The flags of connect, checked before anything happens."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.connect_request import parse_request, parse_tags
from arcgate.agent.errors import AzcmError
from arcgate.agent.login import Credentials

SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
GATEWAY = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/gws/providers/Microsoft.HybridCompute/gateways/one"


def _parse(**flags: Any) -> Any:
    return parse_request(
        **{"resource_group": "servers", "location": "eastus", "subscription": SUBSCRIPTION, "resource_name": "box"}
        | flags
    )


def _refused(**flags: Any) -> AzcmError:
    with pytest.raises(AzcmError) as caught:
        _parse(**flags)
    return caught.value


@pytest.mark.parametrize("flag", ["resource_group", "location", "subscription"])
def test_a_missing_flag_is_azcm0016_and_named(flag: str) -> None:
    error = _refused(**{flag: ""})
    assert error.number == 16
    assert "--" in error.sentence


def test_a_service_principal_needs_a_tenant() -> None:
    assert _refused(credentials=Credentials(client_id="app", client_secret="x")).number == 16


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("resource_group", "a/b"),
        ("resource_group", "ends."),
        ("location", "east/us"),
        ("subscription", "a/b"),
        ("tenant_id", "-x"),
        ("correlation_id", "short"),
        ("correlation_id", "with blanks in it"),
        ("gateway_id", "one"),
        ("gateway_id", GATEWAY.replace("gateways", "machines")),
        ("tags", "novalue"),
    ],
)
def test_malformed_values_are_azcm0023(flag: str, value: str) -> None:
    assert _refused(**{flag: value}).number == 23


@pytest.mark.parametrize("name", ["a", "web-01", "Web_01", "x" * 54])
def test_letters_digits_hyphens_and_underscores_make_a_name(name: str) -> None:
    assert _parse(resource_name=name).resource_name == name


@pytest.mark.parametrize("name", ["web-", "web_", "-web", "web.corp", "wéb", "a b", "x" * 55, "web\n"])
def test_other_names_are_azcm0102(name: str) -> None:
    assert _refused(resource_name=name).number == 102


def test_the_default_name_is_the_host_name_without_its_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "web-7.corp.example")
    assert _parse(resource_name="").resource_name == "web-7"


def test_a_host_name_that_cannot_be_a_resource_name_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "web_")
    error = _refused(resource_name="")
    assert error.number == 102
    assert "--resource-name" in error.remedy


def test_a_correlation_id_is_made_when_none_is_given() -> None:
    assert len(_parse().correlation_id) == 36
    assert _parse(correlation_id="rollout-2026-01").correlation_id == "rollout-2026-01"


def test_a_location_is_compared_without_blanks_and_case() -> None:
    assert _parse(location="East US").location == "eastus"


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a=b,c=d", {"a": "b", "c": "d"}),
        ("a = b , c = d", {"a": "b", "c": "d"}),
        ("'cost centre'='a, b',c=d", {"cost centre": "a, b", "c": "d"}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_tags_are_read(text: str, tags: dict[str, str]) -> None:
    assert parse_tags(text) == tags


PART = st.text(st.characters(exclude_characters="'", codec="utf-8"), min_size=1, max_size=10)


@given(st.dictionaries(PART, PART, max_size=5))
def test_quoted_tags_survive_whatever_they_hold(tags: dict[str, str]) -> None:
    text = ",".join(f"'{name}'='{value}'" for name, value in tags.items())
    assert parse_tags(text) == tags


@given(st.text(max_size=40))
def test_no_text_of_tags_crashes_or_hangs(text: str) -> None:
    try:
        found = parse_tags(text)
    except AzcmError:
        return
    assert isinstance(found, dict)


def test_credentials_print_without_their_secrets() -> None:
    shown = repr(Credentials("tenant", "token-value", "app", "secret-value"))
    assert "token-value" not in shown
    assert "secret-value" not in shown
