"""docs/reference/azure-compatibility.md says what the API does: its tables are those of the routes."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from starlette.routing import Route

from arcgate.control.arm.endpoint import ArmRoute
from arcgate.control.arm.roles import BUILT_IN
from arcgate.control.arm.versions import ARCGATE, AUTHORIZATION, HYBRID_COMPUTE, RESOURCES
from worlds.control_plane import control_plane

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "azure-compatibility.md"
METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
FAMILIES = (
    ("Microsoft.HybridCompute", HYBRID_COMPUTE),
    ("Microsoft.Resources", RESOURCES),
    ("Microsoft.Authorization", AUTHORIZATION),
    ("Arcgate.Network", ARCGATE),
)


async def test_the_page_shows_all_operations_versions_and_roles(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        found = list(plane.app.routes)
    text = PAGE.read_text(encoding="utf-8")
    made = text
    for name, table in (("operations", _operations(found)), ("sign-in", _others(found)), ("roles", _roles())):
        head, _, rest = made.partition(f"<!-- {name} -->\n")
        made = f"{head}<!-- {name} -->\n{table}<!-- end -->{rest.partition('<!-- end -->')[2]}"
    fresh = tmp_path / PAGE.name
    fresh.write_text(made, encoding="utf-8")
    assert text == made, f"the page is not that of the routes; copy {fresh} over it"


def _operations(found: Iterable[object]) -> str:
    routes = [route for route in found if isinstance(route, ArmRoute)]
    text = ""
    for namespace, versions in FAMILIES:
        rows = sorted(row for route in routes if route.versions is versions for row in _rows(route))
        text += f"### {namespace}\n\napi-versions: {', '.join(f'`{one}`' for one in versions)}\n\n"
        text += "| path | method | action that a role must have |\n|---|---|---|\n" + "".join(rows) + "\n"
    assert {id(route.versions) for route in routes} == {id(versions) for _, versions in FAMILIES}
    return text


def _rows(route: ArmRoute) -> list[str]:
    path = (
        route.path.replace("{settings}", "default")
        .replace("{subscription}", "S")
        .replace("{group}", "G")
        .replace("{name}", "N")
    )
    path = re.sub(r"\{([a-z])[a-z_]*\}", lambda match: match[1].upper(), path)
    verbs = [(method, route.verbs[method]) for method in METHODS if method in route.verbs]
    needs = {method: f"`{verb.action}`" if verb.action else "decided by what it touches" for method, verb in verbs}
    return [f"| `{path}` | {method} | {need} |\n" for method, need in needs.items()]


def _others(found: Iterable[object]) -> str:
    prefixes = ("/{tenant}", "/devicelogin", "/metadata", "/openapi")
    routes = [route for route in found if isinstance(route, Route) and route.path.startswith(prefixes)]
    rows = [
        f"| `{route.path}` | {', '.join(sorted((route.methods or set()) - {'HEAD'}))} |\n"
        for route in sorted(routes, key=lambda route: route.path)
        if not isinstance(route, ArmRoute)
    ]
    return "| path | methods |\n|---|---|\n" + "".join(rows)


def _roles() -> str:
    rows = [
        f"| {role.name} | `{role.id}` | {', '.join(f'`{one}`' for one in role.actions)}"
        f"{' but not ' + ', '.join(f'`{one}`' for one in role.not_actions) if role.not_actions else ''}"
        f"{'; data actions ' + ', '.join(f'`{one}`' for one in role.data_actions) if role.data_actions else ''} |\n"
        for role in BUILT_IN
    ]
    return "| role | id | actions |\n|---|---|---|\n" + "".join(rows)


@pytest.mark.parametrize(
    "name", ["azure-cli", "azure-mgmt-hybridcompute", "azure-mgmt-resource", "azure-identity", "msal"]
)
def test_the_page_names_the_clients_that_the_tests_run(name: str) -> None:
    locked = (PAGE.parents[2] / "requirements" / "azure.txt").read_text(encoding="utf-8")
    version = re.search(rf"^{name}==([0-9]+\.[0-9]+)", locked, re.MULTILINE)
    assert version is not None
    assert f"{name} {version[1]}" in PAGE.read_text(encoding="utf-8")
