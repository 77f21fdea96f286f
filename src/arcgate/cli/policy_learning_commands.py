"""`arcgate policy propose`, `replay` and `apply`: from what was seen to a policy that lets through that alone."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from arcgate.cli.audit_commands import local_time, parse_moment
from arcgate.cli.output import Columns, at, cell_text, render_table
from arcgate.cli.policy_paths import ask
from arcgate.cli.resource_options import confirm, group_option, name_option, resource_path, yes_option
from arcgate.cli.session import ARCGATE, HYBRID_COMPUTE, Session, run
from arcgate.core.draft import Draft, parse_draft
from arcgate.core.errors import InputError
from arcgate.core.policy_settings import render_policy
from arcgate.core.proposal import Basis
from arcgate.core.resource_ids import ENDPOINT_SET_TYPE, GATEWAY_TYPE, MACHINE_GROUP_TYPE
from arcgate.net.files import read_json, write_json

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
@click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", help="Form of the output."
)
def replay(draft: Path, since: str, until: str | None, subscription: str | None, form: str) -> None:
    """Show which machines, targets and bytes a draft would have cut. Exit code 1 when there are any."""
    body = {"draft": _without_evidence(draft).to_json(), **_times(since, until)}
    answer = run(ask("POST", "policyReplay", subscription, body))
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


@click.command("apply")
@click.argument("draft", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@yes_option
def apply_draft(draft: Path, yes: bool) -> None:
    """Enforce a draft: its endpoint sets first, then the features of its gateway or machine group."""
    parsed = _without_evidence(draft)
    what = f"machine group {parsed.machine_group}" if parsed.machine_group else parsed.gateway.rpartition("/")[2]
    confirm(f"Let {what} through {len(parsed.allowed_features)} features and sets alone?", yes)
    run(_apply(parsed))
    click.echo(f"Enforced for {what}. Take it back: arcgate policy history; arcgate policy rollback REVISION")


async def _apply(draft: Draft) -> None:
    session = Session.open()
    parts = draft.gateway.split("/")
    subscription, group = parts[2], parts[4]
    for one in draft.endpoint_sets:
        path = resource_path(subscription, group, ENDPOINT_SET_TYPE, one.name, "endpoint set")
        facts = {"endpoints": list(one.endpoints), "allowPrivate": one.allow_private}
        await session.put(path, ARCGATE, {"properties": {**facts, "description": "learned from the audit"}})
    if draft.machine_group is None:
        properties: dict[str, Any] = {"allowedFeatures": list(draft.allowed_features)}
        if draft.policy is not None:
            properties["policy"] = render_policy(draft.policy)
        await session.send("PATCH", draft.gateway, HYBRID_COMPUTE, body={"properties": properties})
        return
    await _apply_to_group(session, subscription, draft)


async def _apply_to_group(session: Session, subscription: str, draft: Draft) -> None:
    path = f"/subscriptions/{subscription}/providers/{MACHINE_GROUP_TYPE}"
    known = [one for one in await session.list_all(path, ARCGATE) if one["name"] == draft.machine_group]
    if len(known) != 1:
        raise InputError("MachineGroupNotFound", f"There are {len(known)} machine groups {draft.machine_group!r}.")
    properties = {key: value for key, value in known[0]["properties"].items() if key != "provisioningState"}
    changed = {**properties, "allowedFeatures": list(draft.allowed_features), "mode": "enforce", "auditedFeatures": []}
    await session.put(known[0]["id"], ARCGATE, {"tags": known[0]["tags"], "properties": changed})


def _without_evidence(file: Path) -> Draft:
    draft = parse_draft(read_json(file))
    if draft.gateway.count("/") < 8:
        raise InputError("DRAFT_INVALID", "The draft's gateway is no resource id.", remedy="Make it by 'propose'.")
    return draft


def _times(since: str, until: str | None) -> dict[str, str]:
    now = datetime.now(UTC)
    return {"since": parse_moment(since, now), **({"until": parse_moment(until, now)} if until else {})}


def _table(rows: list[Any], columns: Columns) -> str:
    return render_table(list(columns), [[cell_text(get(row)) for get in columns.values()] for row in rows])
