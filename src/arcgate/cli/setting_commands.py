"""`arcgate setting`: which gateway a machine is associated with."""

from collections.abc import Callable
from typing import Any

import click

from arcgate.cli.output import Columns, at, output_option, show
from arcgate.cli.resource_options import group_option, group_path, require_name
from arcgate.cli.session import HYBRID_COMPUTE, Session, run
from arcgate.core.resource_ids import GATEWAY_TYPE, SETTINGS_TYPE, parse_resource_id

_COLUMNS: Columns = {
    "NAME": at("name"),
    "GATEWAY": at("properties", "gatewayProperties", "gatewayResourceId"),
}


def _base_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--settings-resource-name", default="default", show_default=True, help="Always 'default'."),
        click.option("--machine", metavar="NAME", help="The machine; short for the three --base-… flags."),
        click.option("--base-resource-name", metavar="NAME", help="Name of the machine."),
        click.option(
            "--base-resource-type", default="machines", show_default=True, help="Type of the machine's resource."
        ),
        click.option("--base-provider", default="Microsoft.HybridCompute", show_default=True, help="Its provider."),
    ):
        function = option(function)
    return group_option(function)


@click.group("setting")
def setting_group() -> None:
    """The association of a machine with a gateway."""


@setting_group.command("update")
@_base_options
@click.option("--gateway-resource-id", required=True, help="Resource id of the gateway; null or '' detaches.")
@output_option
def update(gateway_resource_id: str, form: str | None, **base: Any) -> None:
    """Associate a machine with a gateway, or detach it. The agent follows by itself."""
    detach = gateway_resource_id.strip().lower() in {"", "null", "none"}
    gateway = "" if detach else str(parse_resource_id(gateway_resource_id.rstrip("/"), GATEWAY_TYPE))
    body = {"properties": {"gatewayProperties": {"gatewayResourceId": gateway} if gateway else {}}}

    async def work() -> Any:
        session = Session.open()
        return await session.put(await _path(session, base), HYBRID_COMPUTE, body)

    show(run(work()), form, _COLUMNS)


@setting_group.command("show")
@_base_options
@output_option
def show_setting(form: str | None, **base: Any) -> None:
    """Show which gateway a machine is associated with."""

    async def work() -> Any:
        session = Session.open()
        return await session.get(await _path(session, base), HYBRID_COMPUTE)

    show(run(work()), form, _COLUMNS)


async def _path(session: Session, base: dict[str, Any]) -> str:
    name = base["machine"] or base["base_resource_name"]
    if not name:
        raise click.UsageError("name the machine: --machine NAME (or --base-resource-name NAME).")
    if base["settings_resource_name"].lower() != "default":
        raise click.UsageError("--settings-resource-name is always 'default'.")
    provider = require_name(base["base_provider"], "resource provider")
    # Published samples spell the type in the singular too.
    kind = "machines" if base["base_resource_type"].lower() in {"machine", "machines"} else base["base_resource_type"]
    group = group_path(await session.find_subscription(base["subscription"]), base["resource_group"])
    machine = f"{group}/providers/{provider}/{require_name(kind, 'resource type')}/{require_name(name, 'machine')}"
    return f"{machine}/providers/{SETTINGS_TYPE}/default"
