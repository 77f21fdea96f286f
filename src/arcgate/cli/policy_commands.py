"""`arcgate policy`: how gateways apply their policy, why it decides as it does, and its history."""

from collections.abc import Mapping
from typing import Any

import click

from arcgate.cli.output import Columns, at, output_option, show, show_list
from arcgate.cli.policy_learning_commands import apply_draft, propose, replay
from arcgate.cli.policy_paths import ask, policy_path
from arcgate.cli.resource_options import (
    SpreadCommand,
    confirm,
    group_option,
    name_option,
    refuse_expanded_star,
    resource_path,
    split_values,
    yes_option,
)
from arcgate.cli.session import ARCGATE, HYBRID_COMPUTE, Session, run
from arcgate.core.policy_settings import Mode, PolicySettings, ServerNameCheck, parse_policy, render_policy
from arcgate.core.resource_ids import GATEWAY_TYPE

_name = name_option("--gateway-name", what="gateway")
_subscription = click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
_SPREAD = ["--audited-features", "--pin", "--parameter"]

_SETTINGS: Columns = {
    "MODE": at("mode"),
    "AUDITED FEATURES": at("auditedFeatures"),
    "PINS": at("pins"),
    "PARAMETERS": at("parameters"),
    "SERVER NAME": at("serverName"),
}
_HISTORY: Columns = {
    "REVISION": at("revision"),
    "TIME": at("time"),
    "CHANGED BY": at("changedBy"),
    "KIND": at("kind"),
    "NAME": lambda row: str(row["resourceId"]).rpartition("/")[2],
    "CHANGE": lambda row: change_text(row.get("before"), row.get("after")),
}
_EXPLANATION: Columns = {
    name: at(key)
    for name, key in (
        ("VERDICT", "verdict"),
        ("REASON", "reason"),
        ("FEATURE", "feature"),
        ("RULE", "rule"),
        ("GROUP", "group"),
        ("REVISION", "revision"),
        ("HELD BY", "names"),
    )
}


@click.group("policy")
def policy_group() -> None:
    """What gateways let through: observe it, narrow it, explain it, take it back."""


policy_group.add_command(propose)
policy_group.add_command(replay)
policy_group.add_command(apply_draft)


@policy_group.command("show")
@_name
@group_option
@output_option
def show_policy(name: str, resource_group: str, subscription: str | None, form: str | None) -> None:
    """Show how a gateway applies its policy."""
    show(run(_read(name, resource_group, subscription)), form, _SETTINGS)


@policy_group.command("set", cls=SpreadCommand, spread=_SPREAD)
@_name
@group_option
@click.option(
    "--mode", type=click.Choice([*map(str, Mode)]), help="Refuse what is not allowed, or let it pass and record it."
)
@click.option(
    "--audited-features",
    multiple=True,
    metavar="NAME…",
    help="Names carried on trial: recorded as if refused; - for none.",
)
@click.option(
    "--pin",
    multiple=True,
    metavar="WILDCARD=NAME,…",
    help="All that remains of a wildcard, as in '*.blob.core.windows.net=mine,yours'; nothing after = unpins it.",
)
@click.option(
    "--parameter",
    multiple=True,
    metavar="PLACEHOLDER=VALUE,…",
    help="What a placeholder of scenarios stands for, as in vault=mine; nothing after = takes it back.",
)
@click.option(
    "--server-name",
    type=click.Choice([*map(str, ServerNameCheck)]),
    help="Whether the ClientHello inside a tunnel to port 443 must ask for the tunnel's target.",
)
@output_option
def set_policy(
    name: str,
    resource_group: str,
    subscription: str | None,
    mode: str | None,
    audited_features: tuple[str, ...],
    pin: tuple[str, ...],
    parameter: tuple[str, ...],
    server_name: str | None,
    form: str | None,
) -> None:
    """Change how a gateway applies its policy; what is not given stays."""
    features = split_values(audited_features)
    refuse_expanded_star("--audited-features", features)
    if not (mode or features or pin or parameter or server_name):
        raise click.UsageError("say what to change.")

    async def work() -> Any:
        known = await _read(name, resource_group, subscription)
        changed = {
            "mode": mode or known["mode"],
            "auditedFeatures": [] if features == ["-"] else features or known["auditedFeatures"],
            "pins": _merged(known["pins"], pin, "--pin"),
            "parameters": _merged(known["parameters"], parameter, "--parameter"),
            "serverName": server_name or known["serverName"],
        }
        parse_policy(changed)
        session, path = await _gateway(name, resource_group, subscription)
        body = {"properties": {"policy": changed}}
        answer = (await session.send("PATCH", path, HYBRID_COMPUTE, body=body)).json()
        return _settings(answer)

    show(run(work()), form, _SETTINGS)


def _merged(known: Mapping[str, Any], given: tuple[str, ...], flag: str) -> dict[str, Any]:
    merged = dict(known)
    for one in given:
        key, equals, values = one.partition("=")
        if not key or not equals:
            raise click.UsageError(f"{flag} takes NAME=VALUE,…, not {one!r}.")
        merged[key] = split_values([values])
    return {key: values for key, values in merged.items() if values}


async def _gateway(name: str, group: str, subscription: str | None) -> tuple[Session, str]:
    session = Session.open()
    wanted = await session.find_subscription(subscription)
    return session, resource_path(wanted, group, GATEWAY_TYPE, name, "gateway")


async def _read(name: str, group: str, subscription: str | None) -> dict[str, Any]:
    session, path = await _gateway(name, group, subscription)
    return _settings(await session.get(path, HYBRID_COMPUTE))


def _settings(gateway: Mapping[str, Any]) -> dict[str, Any]:
    policy = gateway["properties"].get("policy")
    return render_policy(parse_policy(policy) if policy else PolicySettings())


@policy_group.command("explain")
@click.argument("machine")
@click.argument("target", metavar="HOST[:PORT]")
@_subscription
@output_option
def explain_policy(machine: str, target: str, subscription: str | None, form: str | None) -> None:
    """Say whether a machine may reach a target, by which rule, group, gateway and revision.

    The target's address is not looked at: that is decided when it has been resolved.
    """
    query = {"machine": machine, "target": target}
    found = run(ask("GET", "policyExplanation", subscription, query=query))
    if form:
        show(found, form, _EXPLANATION)
        return
    click.echo("\n".join(f"{key + ':':<11}{_words(value)}" for key, value in found.items() if value not in ("", [])))


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


@policy_group.command("history")
@click.option("--top", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@_subscription
@output_option
def history(top: int, subscription: str | None, form: str | None) -> None:
    """Show the changes of the policy, newest first: gateways, endpoint sets and machine groups."""

    async def work() -> list[Any]:
        session = Session.open()
        path = await policy_path(session, subscription, "policyRevisions")
        return await session.list_all(path, ARCGATE, {"$top": str(min(top, 1000))}, most=top)

    show_list(run(work()), form, _HISTORY)


@policy_group.command("diff")
@click.argument("revision", type=click.IntRange(0))
@_subscription
def diff(revision: int, subscription: str | None) -> None:
    """Show what has changed since a revision: what a rollback to it would undo."""
    answer = run(ask("POST", f"policyRevisions/{revision}/rollback", subscription, {"dryRun": True}))
    now = {one["resourceId"]: one for one in reversed(run(_since(revision, subscription)))}
    for one in answer["value"]:
        click.echo(f"{one['kind']} {one['resourceId'].rpartition('/')[2]}")
        click.echo(f"  {change_text(one['after'], now[one['resourceId']]['after'])}")


async def _since(revision: int, subscription: str | None) -> list[Any]:
    """Return the changes after a revision, oldest first, so that the last one of each resource tells of now."""
    session = Session.open()
    path = await policy_path(session, subscription, "policyRevisions")
    found = await session.list_all(path, ARCGATE, {"$top": "1000"})
    return [one for one in found if one["revision"] > revision]


@policy_group.command("rollback")
@click.argument("revision", type=click.IntRange(0))
@_subscription
@yes_option
def rollback(revision: int, subscription: str | None, yes: bool) -> None:
    """Make the policy what it was after a revision. That is a new revision, which can be taken back too."""
    confirm(f"Take back all changes of the policy after revision {revision}?", yes)
    answer = run(ask("POST", f"policyRevisions/{revision}/rollback", subscription, {}))
    if not answer["value"] and not answer["skipped"]:
        click.echo(f"The policy has not changed since revision {revision}.", err=True)
    for one in answer["value"]:
        done = "deleted" if one["after"] is None else "restored"
        click.echo(f"{done} {one['kind']} {one['resourceId'].rpartition('/')[2]}")
    for one in answer["skipped"]:
        click.echo(f"left as it is, since it was made or deleted meanwhile: {one}", err=True)


def change_text(before: Any, after: Any) -> str:
    """Return what differs between two bodies of snapshot entries, on one line."""
    if before is None:
        return "made"
    if after is None:
        return "deleted"
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    return "; ".join(_change(key, before.get(key), after.get(key)) for key in keys) or "nothing"


def _change(key: str, before: Any, after: Any) -> str:
    if not isinstance(before, list) or not isinstance(after, list):
        return f"{key}: {before} -> {after}"
    signs = [*(f"-{one}" for one in before if one not in after), *(f"+{one}" for one in after if one not in before)]
    return f"{key}: {' '.join(signs)}"
