"""ARM resource ids."""

import pytest

from arcgate.core.errors import InputError
from arcgate.core.resource_ids import (
    ENDPOINT_SET_TYPE,
    GATEWAY_TYPE,
    MACHINE_TYPE,
    ResourceId,
    parse_resource_id,
)

SUBSCRIPTION = "0b7a2c1e-1111-4222-8333-444455556666"
GATEWAY = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/Group-1/providers/Microsoft.HybridCompute/gateways/gw-1"


def test_an_id_prints_as_it_was_given() -> None:
    assert str(parse_resource_id(GATEWAY, GATEWAY_TYPE)) == GATEWAY


def test_an_id_in_another_casing_names_the_same_resource() -> None:
    upper, lower = parse_resource_id(GATEWAY.upper(), GATEWAY_TYPE), parse_resource_id(GATEWAY.lower(), GATEWAY_TYPE)
    assert upper.key == lower.key == GATEWAY.lower()
    assert upper.type == GATEWAY_TYPE
    assert upper.subscription_id == SUBSCRIPTION


def test_names_keep_their_casing() -> None:
    parsed = parse_resource_id(GATEWAY, GATEWAY_TYPE)
    assert parsed == ResourceId(SUBSCRIPTION, "Group-1", GATEWAY_TYPE, "gw-1")


def test_an_endpoint_set_has_an_id_of_the_same_form() -> None:
    text = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Arcgate.Network/endpointSets/set (1)_a.b".replace(
        " ", ""
    )
    assert parse_resource_id(text, ENDPOINT_SET_TYPE).name == "set(1)_a.b"


def test_the_id_of_a_machine_is_no_id_of_a_gateway_and_the_error_says_so() -> None:
    machine = GATEWAY.replace("gateways", "machines")
    assert parse_resource_id(machine, MACHINE_TYPE).name == "gw-1"
    with pytest.raises(InputError) as caught:
        parse_resource_id(machine, GATEWAY_TYPE)
    assert caught.value.code == "RESOURCE_ID_INVALID"
    assert "machines" in caught.value.cause


@pytest.mark.parametrize(
    "text",
    ["", "gw-1", GATEWAY.removeprefix("/"), GATEWAY + "/", GATEWAY + "\n", GATEWAY + "?x", GATEWAY + "#x",
    " " + GATEWAY,
     GATEWAY + "/extra/x", GATEWAY.replace("Group-1", ""), GATEWAY.replace("Group-1", ".."), GATEWAY.replace("gw-1",
     ".."),
     GATEWAY.replace("Group-1", "Group."), GATEWAY.replace("gw-1", "%2e%2e"), GATEWAY.replace("gw-1", "a%2Fb"),
     GATEWAY.replace("gw-1", "a b"), GATEWAY.replace("gw-1", "a" * 91), GATEWAY.replace("gw-1", "gw-ü"),
     GATEWAY.replace(SUBSCRIPTION, "{" + SUBSCRIPTION + "}"), GATEWAY.replace(SUBSCRIPTION, SUBSCRIPTION + "7"),
     GATEWAY.replace(SUBSCRIPTION, "x"), GATEWAY.replace("/", "\\"), GATEWAY.replace("/", "//"),
     GATEWAY.replace("gw-1", "gw\x00"), GATEWAY.replace("subscriptions", "\u017fubscriptions"),
     GATEWAY.replace("gw-1", "gate\u017f"), GATEWAY.replace("gw-1", "\u212aube"), GATEWAY * 2000],
)  # fmt: skip
def test_another_text_is_refused_with_a_short_printable_message(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_resource_id(text, GATEWAY_TYPE)
    assert caught.value.code == "RESOURCE_ID_INVALID"
    assert caught.value.one_line().isprintable()
    assert len(caught.value.one_line()) < 1500
