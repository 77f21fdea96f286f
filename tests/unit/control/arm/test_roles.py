import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.control.arm.roles import (
    BUILT_IN,
    CONTRIBUTOR,
    ONBOARDING,
    OWNER,
    READER,
    Assignment,
    find_role,
    is_within,
    permits,
    touches,
)

SCOPES = st.lists(st.sampled_from(["a", "b", "rg1", "rg10", "RG1"]), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@pytest.mark.parametrize(
    ("role", "action", "allowed"),
    [
        (OWNER, "Microsoft.Authorization/roleAssignments/write", True),
        (CONTRIBUTOR, "Microsoft.Authorization/roleAssignments/write", False),
        (CONTRIBUTOR, "microsoft.authorization/roleassignments/DELETE", False),
        (CONTRIBUTOR, "Microsoft.Authorization/roleAssignments/read", True),
        (CONTRIBUTOR, "Arcgate.Network/servicePrincipals/write", False),
        (CONTRIBUTOR, "Microsoft.HybridCompute/gateways/write", True),
        (READER, "Microsoft.HybridCompute/gateways/read", True),
        (READER, "Microsoft.HybridCompute/gateways/write", False),
        (READER, "Microsoft.HybridCompute/readers/action", False),
        (ONBOARDING, "Microsoft.HybridCompute/machines/delete", False),
    ],
)
def test_a_role_has_its_actions_less_its_exceptions(role: object, action: str, allowed: bool) -> None:
    assert isinstance(role, type(OWNER))
    assert role.permits(action) is allowed


def test_scopes_compare_by_whole_segments_without_case() -> None:
    assert is_within("/subscriptions/S/resourceGroups/rg1/x", "/subscriptions/s/resourcegroups/RG1")
    assert not is_within("/subscriptions/s/resourcegroups/rg10", "/subscriptions/s/resourcegroups/rg1")
    assert not is_within("/subscriptions/s", "/subscriptions/s/resourcegroups/rg1")
    assert is_within("/subscriptions/s", "/")


@given(inner=SCOPES, outer=SCOPES)
def test_what_lies_within_begins_with_the_outer_segments(inner: str, outer: str) -> None:
    naive = (inner.lower() + "/").startswith(outer.lower().rstrip("/") + "/")
    assert is_within(inner, outer) is naive


@given(scope=SCOPES, held=st.lists(SCOPES, max_size=4))
def test_more_assignments_never_take_a_permission_away(scope: str, held: list[str]) -> None:
    assignments = [Assignment(READER, one) for one in held]
    action = "x/read"
    before = permits(assignments, action, scope)
    assert permits([*assignments, Assignment(ONBOARDING, scope)], action, scope) >= before
    assert not before or touches(assignments, scope)


@pytest.mark.parametrize("role", BUILT_IN, ids=lambda role: role.name)
def test_a_role_is_found_by_name_id_and_definition(role: object) -> None:
    assert isinstance(role, type(OWNER))
    for text in (role.name, role.name.upper(), role.id, f"/x/roleDefinitions/{role.id.upper()}"):
        assert find_role(text) is role
    assert find_role("King") is None
