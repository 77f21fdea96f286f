"""`arcgate policy propose`, `replay` and `apply`: from what was seen to a policy that lets through that alone."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from arcgate.cli.audit_commands import local_time, parse_moment
from arcgate.cli.output import Columns, at, cell_text, render_table
from arcgate.cli.policy_paths import ask, policy_path
from arcgate.cli.regular_file import Unreadable, read_regular_file
from arcgate.cli.resource_options import confirm, group_option, name_option, resource_path, yes_option
from arcgate.cli.session import ARCGATE, HYBRID_COMPUTE, Session, run
from arcgate.core.draft import Draft, parse_draft
from arcgate.core.errors import ArcgateError, InputError, StateError
from arcgate.core.policy_settings import Mode, PolicySettings, parse_policy, render_policy
from arcgate.core.proposal import Basis
from arcgate.core.resource_ids import ENDPOINT_SET_TYPE, GATEWAY_TYPE, MACHINE_GROUP_TYPE, parse_resource_id
from arcgate.net.files import write_json

LARGEST_DRAFT = 64 * 1024 * 1024
"""Bytes of a draft's file."""

Change = Callable[[], Awaitable[Any]]
"""Writes the last part of a draft."""

_since = click.option("--since", default="14d", show_default=True, metavar="TIME", help="ISO 8601, or 30m, 2h, 7d ago.")
_until = click.option("--until", metavar="TIME", help="Before then: the same forms.")

_EVIDENCE: Columns = {
    "ENDPOINT": at("endpoint"),
    "REQUESTS": at("requests"),
    "MACHINES": at("machines"),
    "UP": at("bytesUp"),
    "DOWN": at("bytesDown"),
    "FIRST SEEN": lambda row: local_time(row["firstSeen"]),
    "LAST SEEN": lambda row: local_time(row["lastSeen"]),
    "HELD BY": at("names"),
}
_CUT: Columns = {
    "MACHINE": lambda row: str(row["machine"] or row["machineId"]).rpartition("/")[2],
    "TARGET": at("target"),
    "REASON": at("reason"),
    "REQUESTS": at("requests"),
    "UP": at("bytesUp"),
    "DOWN": at("bytesDown"),
    "LAST SEEN": lambda row: local_time(row["lastSeen"]),
}


@click.command("propose")
@name_option("--gateway-name", what="gateway")
@group_option
@click.option("--machine-group", metavar="NAME", help="Only from, and for, the machines of this group.")
@_since
@_until
@click.option(
    "--basis",
    type=click.Choice([*map(str, Basis)]),
    default=str(Basis.EXACT),
    show_default=True,
    help="Name each target that was seen, or the fewest features that hold them.",
)
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the draft.")
def propose(
    name: str,
    resource_group: str,
    subscription: str | None,
    machine_group: str | None,
    since: str,
    until: str | None,
    basis: str,
    file: Path | None,
) -> None:
    """Make the smallest rules that let through what the audit has seen pass, as a draft to review.

    Without --file the draft is printed as JSON; with it, a table of the evidence is.
    """

    async def work() -> Any:
        session = Session.open()
        wanted = await session.find_subscription(subscription)
        gateway = resource_path(wanted, resource_group, GATEWAY_TYPE, name, "gateway")
        body = {"gateway": gateway, "machineGroup": machine_group, "basis": basis, **_times(since, until)}
        return await ask("POST", "policyProposal", subscription, body)

    draft = run(work())
    if not draft["evidence"]:
        click.echo("Nothing has passed in that time: this draft would allow nothing at all.", err=True)
    if file is None:
        click.echo(json.dumps(draft, indent=2))
        return
    write_json(file, draft)
    click.echo(_table(draft["evidence"], _EVIDENCE))
    click.echo(f"The draft is in {file}. Next: arcgate policy replay {file}", err=True)


@click.command("replay")
@click.argument("draft", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_since
@_until
@click.option("--subscription", metavar="NAME_OR_ID", help="Default: that of the draft's gateway.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", help="Form of the output."
)
def replay(draft: Path, since: str, until: str | None, subscription: str | None, form: str) -> None:
    """Show which machines, targets and bytes a draft would have cut. Exit code 1 when there are any."""
    parsed = _without_evidence(draft)
    body = {"draft": parsed.to_json(), **_times(since, until)}
    where = subscription or parse_resource_id(parsed.gateway, GATEWAY_TYPE).subscription_id
    answer = run(ask("POST", "policyReplay", where, body))
    if form == "json":
        click.echo(json.dumps(answer, indent=2))
    elif answer["value"]:
        click.echo(_table(answer["value"], _CUT))
    kept, cut = answer["kept"], answer["cut"]
    click.echo(
        f"kept: {kept['requests']} requests to {kept['targets']} targets; "
        f"cut: {cut['requests']} requests of {cut['machines']} machines to {cut['targets']} targets.",
        err=True,
    )
    if cut["requests"]:
        raise SystemExit(1)
    if not kept["requests"]:
        click.echo("Nothing had passed in that time: this says nothing about the draft.", err=True)


@click.command("apply")
@click.argument("draft", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@yes_option
def apply_draft(draft: Path, yes: bool) -> None:
    """Enforce a draft: its endpoint sets first, then the features of its gateway or machine group."""
    parsed = _without_evidence(draft)
    what = f"machine group {parsed.machine_group}" if parsed.machine_group else parsed.gateway.rpartition("/")[2]
    confirm(f"Let {what} through {len(parsed.allowed_features)} features and sets alone?", yes)
    before = run(_apply(parsed))
    click.echo(f"Enforced for {what}. Take it back: arcgate policy rollback {before}")


async def _apply(draft: Draft) -> int:
    """Write what a draft wants, and return the revision of the policy before; raises ApiFailure or StateError.

    What can be refused without writing is refused first. Each step may be repeated.
    """
    session = Session.open()
    gateway = parse_resource_id(draft.gateway, GATEWAY_TYPE)
    subscription = gateway.subscription_id
    sets = [
        (resource_path(subscription, gateway.resource_group, ENDPOINT_SET_TYPE, one.name, "endpoint set"), one)
        for one in draft.endpoint_sets
    ]
    change = await (_change_of_gateway(session, draft) if draft.machine_group is None else _of_group(session, draft))
    path = await policy_path(session, subscription, "policyRevisions")
    newest = await session.list_all(path, ARCGATE, {"$top": "1"}, most=1)
    before = int(newest[0]["revision"]) if newest else 0
    written: list[str] = []
    try:
        for place, one in sets:
            facts = {"endpoints": list(one.endpoints), "allowPrivate": one.allow_private}
            await session.put(place, ARCGATE, {"properties": {**facts, "description": "learned from the audit"}})
            written.append(one.name)
        await change()
    except ArcgateError as error:
        if not written:
            raise
        raise StateError(
            "DRAFT_HALF_APPLIED",
            f"Of the draft, only the endpoint sets {', '.join(written)} were written; who names them has them now.",
            cause=error.one_line().rstrip("."),
            remedy=f"Correct that and apply the draft again, or take it back: arcgate policy rollback {before}",
        ) from None
    return before


async def _change_of_gateway(session: Session, draft: Draft) -> Change:
    known = (await session.get(draft.gateway, HYBRID_COMPUTE))["properties"].get("policy")
    settings = draft.policy or (parse_policy(known) if known else PolicySettings())
    policy = render_policy(settings) | {"mode": str(Mode.ENFORCE)}
    body = {"properties": {"allowedFeatures": list(draft.allowed_features), "policy": policy}}
    return lambda: session.send("PATCH", draft.gateway, HYBRID_COMPUTE, body=body)


async def _of_group(session: Session, draft: Draft) -> Change:
    subscription = parse_resource_id(draft.gateway, GATEWAY_TYPE).subscription_id
    wanted = str(draft.machine_group).lower()
    path = f"/subscriptions/{subscription}/providers/{MACHINE_GROUP_TYPE}"
    known = [one for one in await session.list_all(path, ARCGATE) if wanted in (one["name"].lower(), one["id"].lower())]
    if len(known) != 1:
        raise InputError(
            "MachineGroupNotFound",
            f"{'More than one' if known else 'No'} machine group is called {draft.machine_group!r}.",
            remedy="Write its resource id into the draft: 'arcgate machine-group list' names those that there are.",
        )
    properties = {key: value for key, value in known[0]["properties"].items() if key != "provisioningState"}
    changed = {**properties, "allowedFeatures": list(draft.allowed_features), "mode": "enforce", "auditedFeatures": []}
    return lambda: session.put(known[0]["id"], ARCGATE, {"tags": known[0]["tags"], "properties": changed})


def _without_evidence(file: Path) -> Draft:
    try:
        draft = parse_draft(json.loads(read_regular_file(file, LARGEST_DRAFT).data))
        parse_resource_id(draft.gateway, GATEWAY_TYPE)
    except Unreadable as error:
        raise _no_draft(f"{file} {error}") from None
    except (ValueError, RecursionError) as error:
        raise _no_draft(f"{file} is no JSON: {error}") from None
    return draft


def _no_draft(cause: str) -> InputError:
    return InputError(
        "DRAFT_INVALID",
        "The draft can't be read.",
        cause=cause,
        remedy="Begin with what 'arcgate policy propose --file FILE' writes.",
    )


def _times(since: str, until: str | None) -> dict[str, str]:
    now = datetime.now(UTC)
    return {"since": parse_moment(since, now), **({"until": parse_moment(until, now)} if until else {})}


def _table(rows: list[Any], columns: Columns) -> str:
    return render_table(list(columns), [[cell_text(get(row)) for get in columns.values()] for row in rows])
