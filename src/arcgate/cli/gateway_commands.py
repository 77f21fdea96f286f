"""`arcgate gateway`: gateway resources."""

from typing import Any

import click

from arcgate.cli.output import at, output_option, show
from arcgate.cli.resource_kinds import ResourceKind
from arcgate.cli.resource_options import (
    SpreadCommand,
    confirm,
    group_option,
    group_path,
    no_wait_option,
    parse_tags,
    refuse_expanded_star,
    resource_path,
    split_values,
    yes_option,
)
from arcgate.cli.session import HYBRID_COMPUTE, RESOURCES, Session, run
from arcgate.core.hand_over import MODES
from arcgate.core.resource_ids import GATEWAY_TYPE

_COLUMNS = {
    "NAME": at("name"),
    "RESOURCE GROUP": lambda row: row["id"].split("/")[4],
    "LOCATION": at("location"),
    "ENDPOINT": at("properties", "gatewayEndpoint"),
    "ALLOWED FEATURES": at("properties", "allowedFeatures"),
    "STATE": at("properties", "provisioningState"),
}

_features_option = click.option(
    "--allowed-features",
    multiple=True,
    metavar="FEATURE…",
    help="Features that the gateway carries, separated by spaces or commas; '*' (in quotes) is all of them.",
)
_hand_over_option = click.option(
    "--hand-over",
    type=click.Choice(MODES),
    help="The most that its tunnels may: when bulk, idle ones or all leave the channel's TLS. Nodes and machines "
    "may be stricter.",
)
_signed_channels_option = click.option(
    "--signed-channels",
    type=click.Choice(["allowed", "refused"]),
    help="Whether machines behind a proxy that inspects TLS may sign their requests, for lack of their certificate.",
)
_tags_option = click.option("--tags", multiple=True, metavar="KEY=VALUE", help="Tags.")
GATEWAYS = ResourceKind(GATEWAY_TYPE, HYBRID_COMPUTE, "gateway", _COLUMNS)
_SPREAD = ["--allowed-features", "--tags"]


@click.group("gateway")
def gateway_group() -> None:
    """Gateways: one name each, through which machines reach all their targets."""


@gateway_group.command("create", cls=SpreadCommand, spread=_SPREAD)
@GATEWAYS.name_option
@group_option
@click.option("-l", "--location", help="Location; default is the resource group's.")
@click.option(
    "--gateway-type",
    type=click.Choice(["Public"], case_sensitive=False),
    default="Public",
    show_default=True,
    help="The only type there is.",
)
@_features_option
@_hand_over_option
@_signed_channels_option
@_tags_option
@no_wait_option
@output_option
def create(
    name: str,
    resource_group: str,
    subscription: str | None,
    location: str | None,
    gateway_type: str,
    allowed_features: tuple[str, ...],
    hand_over: str | None,
    signed_channels: str | None,
    tags: tuple[str, ...],
    no_wait: bool,
    form: str | None,
) -> None:
    """Create a gateway. The answer holds its name on the network: properties.gatewayEndpoint."""
    properties = {
        "gatewayType": gateway_type,
        "allowedFeatures": _features(allowed_features) or ["*"],
        **({"handOver": hand_over} if hand_over else {}),
        **_signed_channels(signed_channels),
    }

    async def work() -> Any:
        session = Session.open()
        wanted = await session.find_subscription(subscription)
        where = location or (await session.get(group_path(wanted, resource_group), RESOURCES))["location"]
        body = {"location": where, "tags": parse_tags(tags), "properties": properties}
        path = resource_path(wanted, resource_group, GATEWAY_TYPE, name, "gateway")
        return await session.put(path, HYBRID_COMPUTE, body, wait=not no_wait)

    show(run(work()), form, _COLUMNS)


def _signed_channels(given: str | None) -> dict[str, bool]:
    return {} if given is None else {"signedChannels": given == "allowed"}


def _features(given: tuple[str, ...]) -> list[str]:
    features = split_values(given)
    refuse_expanded_star("--allowed-features", features)
    return features


@gateway_group.command("update", cls=SpreadCommand, spread=_SPREAD)
@GATEWAYS.name_option
@group_option
@_features_option
@_hand_over_option
@_signed_channels_option
@_tags_option
@output_option
def update(
    name: str,
    resource_group: str,
    subscription: str | None,
    allowed_features: tuple[str, ...],
    hand_over: str | None,
    signed_channels: str | None,
    tags: tuple[str, ...],
    form: str | None,
) -> None:
    """Change what a gateway carries; nodes enforce it within seconds, also on open tunnels."""
    body: dict[str, Any] = {}
    properties = {"allowedFeatures": _features(allowed_features), "handOver": hand_over}
    if given := {name: value for name, value in properties.items() if value} | _signed_channels(signed_channels):
        body["properties"] = given
    if tags:
        body["tags"] = parse_tags(tags)
    if not body:
        raise click.UsageError("say what to change: --allowed-features, --hand-over, --signed-channels or --tags.")

    async def work() -> Any:
        session = Session.open()
        path = await GATEWAYS.path(session, subscription, resource_group, name)
        return (await session.send("PATCH", path, HYBRID_COMPUTE, body=body)).json()

    show(run(work()), form, _COLUMNS)


@gateway_group.command("delete")
@GATEWAYS.name_option
@group_option
@click.option("--force", is_flag=True, help="Also detach the machines that are still associated.")
@yes_option
@no_wait_option
def delete(name: str, resource_group: str, subscription: str | None, force: bool, yes: bool, no_wait: bool) -> None:
    """Delete a gateway; refused while machines are associated, unless forced."""
    confirm(f"Delete the gateway {name}?", yes)

    async def work() -> bool:
        session = Session.open()
        path = await GATEWAYS.path(session, subscription, resource_group, name)
        query = {"force": "true"} if force else {}
        return await session.delete(path, HYBRID_COMPUTE, query, wait=not no_wait)

    if not run(work()):
        GATEWAYS.tell_absence(name)


GATEWAYS.add_list_and_show(gateway_group)
