"""Built-in roles and the decision whether an assignment of one permits an action at a scope. Pure.

Scopes are lower-case paths and compare by whole segments: a role at …/resourcegroups/rg1 says nothing about
rg10. The scope "/" is the tenant's root. Ids of the roles are those of the original where it has them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from arcgate.core.incoming import LOGIN_ACTION


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of actions; `*` in an action stands for any characters, as in ARM."""

    id: str
    name: str
    description: str
    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    """What may be done with what a resource holds; no action implies one, not even `*`."""

    def permits(self, action: str) -> bool:
        """Say whether the role has the action."""
        return _matches(self.actions, action) and not _matches(self.not_actions, action)

    def permits_data(self, action: str) -> bool:
        """Say whether the role has the data action."""
        return _matches(self.data_actions, action)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role at a scope."""

    role: Role
    scope: str

    def permits(self, action: str, scope: str) -> bool:
        """Say whether the assignment permits the action at the scope."""
        return is_within(scope, self.scope) and self.role.permits(action)

    def permits_data(self, action: str, scope: str) -> bool:
        """Say whether the assignment permits the data action at the scope."""
        return is_within(scope, self.scope) and self.role.permits_data(action)


OWNER = Role(
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Owner",
    "Does everything, and gives roles to others.",
    ("*",),
)
CONTRIBUTOR = Role(
    "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Contributor",
    "Does everything except giving roles.",
    ("*",),
    ("Microsoft.Authorization/*/Write", "Microsoft.Authorization/*/Delete", "Arcgate.Network/servicePrincipals/*"),
)
READER = Role("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader", "Sees everything, changes nothing.", ("*/read",))
ONBOARDING = Role(
    "b64e21ea-ac4e-4cdf-9dc9-5b892992bee7",
    "Azure Connected Machine Onboarding",
    "Creates machines and reads them.",
    (
        "Microsoft.HybridCompute/machines/read",
        "Microsoft.HybridCompute/machines/write",
        "Microsoft.HybridCompute/privateLinkScopes/read",
        # Onboarding with a gateway associates the new machine at once.
        "Microsoft.HybridCompute/settings/read",
        "Microsoft.HybridCompute/settings/write",
        "Microsoft.HybridCompute/gateways/read",
    ),
)
MACHINE_ADMINISTRATOR = Role(
    "cd570a14-e51a-42ad-bac8-bafd67325302",
    "Azure Connected Machine Resource Administrator",
    "Reads, writes and deletes machines and what belongs to them.",
    (
        "Microsoft.HybridCompute/machines/*",
        "Microsoft.HybridCompute/settings/*",
        "Microsoft.HybridCompute/licenses/*",
        "Microsoft.HybridCompute/privateLinkScopes/*",
        "Microsoft.HybridCompute/gateways/read",
        "Microsoft.HybridCompute/*/read",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Arcgate.Network/machines/*",
        "Arcgate.Network/*/read",
    ),
)
GATEWAY_OPERATOR = Role(
    "f5819b54-e033-4d82-ac66-4fec3cbf3f4c",
    "Arc Gateway Manager",
    "Reads, writes and deletes gateways, endpoint sets and associations.",
    (
        "Microsoft.HybridCompute/gateways/*",
        "Microsoft.HybridCompute/settings/*",
        "Microsoft.HybridCompute/machines/read",
        "Microsoft.HybridCompute/operations/read",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Arcgate.Network/endpointSets/*",
        "Arcgate.Network/machineGroups/*",
        "Arcgate.Network/*/read",
    ),
)

_LOGIN_READS = (
    "Microsoft.HybridCompute/machines/read",
    "Microsoft.HybridCompute/settings/read",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
)
ADMINISTRATOR_LOGIN = Role(
    "1c0163c0-47e6-4577-8991-ea5c82e286e4",
    "Virtual Machine Administrator Login",
    "Connects to machines through their gateway; who one is there, the machine's own accounts decide.",
    _LOGIN_READS,
    data_actions=(LOGIN_ACTION, "Microsoft.HybridCompute/machines/loginAsAdmin/action"),
)
USER_LOGIN = Role(
    "fb879df8-f326-4884-b1cf-06f3ad86be52",
    "Virtual Machine User Login",
    "Connects to machines through their gateway; who one is there, the machine's own accounts decide.",
    _LOGIN_READS,
    data_actions=(LOGIN_ACTION,),
)

BUILT_IN = (
    *(OWNER, CONTRIBUTOR, READER, ONBOARDING, MACHINE_ADMINISTRATOR, GATEWAY_OPERATOR),
    *(ADMINISTRATOR_LOGIN, USER_LOGIN),
)


def find_role(text: str) -> Role | None:
    """Return the role of a name, an id or a role definition's resource id, compared without case."""
    wanted = text.strip().rpartition("/")[2].lower()
    return next((role for role in BUILT_IN if wanted in (role.id, role.name.lower())), None)


def is_within(scope: str, outer: str) -> bool:
    """Say whether `scope` is `outer` or lies below it, by whole segments and without case."""
    inner_segments, outer_segments = _segments(scope), _segments(outer)
    return inner_segments[: len(outer_segments)] == outer_segments


def permits(assignments: Iterable[Assignment], action: str, scope: str) -> bool:
    """Say whether one of the assignments permits the action at the scope."""
    return any(assignment.permits(action, scope) for assignment in assignments)


def permits_data(assignments: Iterable[Assignment], action: str, scope: str) -> bool:
    """Say whether one of the assignments permits the data action at the scope."""
    return any(assignment.permits_data(action, scope) for assignment in assignments)


def touches(assignments: Iterable[Assignment], scope: str) -> bool:
    """Say whether an assignment lies at, above or below the scope: whoever has one knows that it exists."""
    return any(is_within(scope, one.scope) or is_within(one.scope, scope) for one in assignments)


def _segments(scope: str) -> list[str]:
    return [segment for segment in scope.lower().split("/") if segment]


def _matches(patterns: tuple[str, ...], action: str) -> bool:
    return any(_expression(pattern).match(action) is not None for pattern in patterns)


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*") + r"\Z", re.IGNORECASE | re.DOTALL)
