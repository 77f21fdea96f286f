"""Which server names lead to a gateway, and which to the control plane."""

import pytest

from arcgate.core.names import HostName
from arcgate.gateway.front_door import Names

NAMES = Names(".gw.arcgate.test", frozenset({"management.arcgate.test"}), ".his.arcgate.test")


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("abc.gw.arcgate.test", "abc"),
        ("a.b.gw.arcgate.test", None),
        ("gw.arcgate.test", None),
        (".gw.arcgate.test", None),
        ("abc.gw.arcgate.test.evil.test", None),
        ("abcgw.arcgate.test", None),
        (None, None),
    ],
)
def test_a_gateway_is_named_by_exactly_one_label(name: str | None, prefix: str | None) -> None:
    assert NAMES.gateway_prefix(HostName(name) if name is not None else None) == prefix


@pytest.mark.parametrize(
    ("name", "is_control"),
    [
        ("management.arcgate.test", True),
        ("eastus.his.arcgate.test", True),
        ("a.eastus.his.arcgate.test", False),
        ("his.arcgate.test", False),
        ("login.evil.test", False),
        (None, False),
    ],
)
def test_the_control_plane_has_its_own_names_and_one_for_each_region(name: str | None, is_control: bool) -> None:
    assert NAMES.is_control(HostName(name) if name is not None else None) is is_control
