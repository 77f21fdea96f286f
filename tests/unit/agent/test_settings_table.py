"""Values of `azcmagent config`: what is taken, and how a refusal reads."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.errors import AzcmError
from arcgate.agent.settings_property import Kind
from arcgate.agent.settings_table import PROPERTIES, property_of


@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_every_default_is_a_valid_value(name: str) -> None:
    assert PROPERTIES[name].is_valid(PROPERTIES[name].default)


@pytest.mark.parametrize("name", sorted(PROPERTIES))
@given(text=st.text(max_size=60))
def test_any_text_is_a_value_that_survives_being_stored_or_is_refused(name: str, text: str) -> None:
    one = PROPERTIES[name]
    with contextlib.suppress(AzcmError):
        value = one.parse(text)
        assert one.is_valid(value)
        assert one.parse(one.format(value)) == value


@pytest.mark.parametrize("text", ["GATEWAY", "Gateway", " gateway", "gateway ", "on", ""])
def test_connection_type_is_taken_in_its_exact_spelling_only(text: str) -> None:
    with pytest.raises(AzcmError) as caught:
        property_of("connection.type").parse(text)
    assert caught.value.code == "AZCM0023"
    assert "default, direct, gateway" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("proxy.url", "proxy:3128"),
        ("proxy.url", "http://proxy:3128/path"),
        ("proxy.url", "socks5://proxy"),
        ("proxy.bypass", "Arc,Nonsense*"),
        ("incomingconnections.ports", "22,65536"),
        ("incomingconnections.ports", "٢٢"),
        ("incomingconnections.enabled", "yes"),
        ("extensions.allowlist", "NoSlash"),
        ("extensions.agent.cpulimit", "0"),
        ("extensions.agent.cpulimit", "101"),
        ("arcproxy.port", "-1"),
        ("arcproxy.port", "1e3"),
        ("gateway.address", "host"),
        ("check.endpoints", "a b"),
        ("proxy.url", "http://proxy\n:3128"),
    ],
)
def test_values_that_cannot_be_used_are_azcm0023(name: str, text: str) -> None:
    with pytest.raises(AzcmError) as caught:
        property_of(name).parse(text)
    assert caught.value.number == 23
    assert name in caught.value.sentence


def test_a_refused_proxy_url_does_not_show_its_password() -> None:
    with pytest.raises(AzcmError) as caught:
        property_of("proxy.url").parse("http://user:hunter2@bad host")
    assert "hunter2" not in caught.value.one_line()


def test_lists_tolerate_blanks_and_hold_each_item_once() -> None:
    assert property_of("proxy.bypass").parse(" Arc , ARM,Arc,, AMA ") == ["Arc", "ARM", "AMA"]


def test_an_unknown_property_is_azcm0023() -> None:
    with pytest.raises(AzcmError) as caught:
        property_of("proxy.urls")
    assert caught.value.number == 23


def test_lists_print_in_brackets() -> None:
    assert property_of("proxy.bypass").show(["Arc", "ARM"]) == "[Arc ARM]"
    assert property_of("extensions.enabled").show(True) == "true"


def test_only_lists_have_list_defaults() -> None:
    assert all(isinstance(one.default, list) == (one.kind is Kind.LIST) for one in PROPERTIES.values())
