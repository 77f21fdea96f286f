"""`arcgate audit`: who talked to what through the gateways."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from arcgate.cli.output import Columns, at, cell_text, render_csv, render_table
from arcgate.cli.session import ARCGATE, Session, run

LARGEST_PAGE = 1000

_SPAN = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhdw])\Z", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_COLUMNS: Columns = {
    "TIME": lambda row: local_time(row.get("time")),
    "EVENT": at("event"),
    "MACHINE": lambda row: str(row.get("machine") or row.get("machineId") or "-").rpartition("/")[2],
    "AUTHENTICATION": at("authentication"),
    "TARGET": at("target"),
    "ADDRESS": at("resolvedAddress"),
    "FEATURE": at("feature"),
    "VERDICT": at("verdict"),
    "REASON": at("reason"),
    "UP": at("bytesUp"),
    "DOWN": at("bytesDown"),
    "SECONDS": at("duration"),
    "HANDED OVER": lambda row: {True: "yes", False: "no"}.get(row.get("handedOver"), "-"),
    "PROCESS": at("process"),
    "CORRELATION": at("correlationId"),
}


@click.command("audit")
@click.option("--machine", metavar="NAME_OR_ID", help="Only of this machine: name, vmId or resource id.")
@click.option("--target", metavar="TEXT", help="Only targets that hold this text; * stands for any characters.")
@click.option("--verdict", type=click.Choice(["allowed", "audited", "refused"]), help="Only with this verdict.")
@click.option("--event", type=click.Choice(["start", "end", "refusal", "conflict"]), help="Only records of this event.")
@click.option("--since", metavar="TIME", help="From then on: ISO 8601, or 30m, 2h, 7d ago.")
@click.option("--until", metavar="TIME", help="Before then: the same forms.")
@click.option("--correlation-id", metavar="ID", help="Only of this request; the machine's arcproxy.log has it too.")
@click.option("--open", "only_open", is_flag=True, help="Tunnels that are open now.")
@click.option("--top", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most so many.")
@click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "jsonl", "csv", "json"]),
    help="Default: table on a terminal, else jsonl.",
)
def audit_command(
    since: str | None,
    until: str | None,
    only_open: bool,
    top: int,
    subscription: str | None,
    form: str | None,
    **rest: Any,
) -> None:
    """Show audit records, newest first: one start and one end for each tunnel, one refusal for each denied request."""
    now = datetime.now(UTC)
    query = {
        "machine": rest["machine"],
        "target": rest["target"],
        "verdict": rest["verdict"],
        "event": rest["event"],
        "since": parse_moment(since, now) if since else None,
        "until": parse_moment(until, now) if until else None,
        "correlationId": rest["correlation_id"],
        "$top": str(min(top, LARGEST_PAGE)),
    }
    given = {key: value for key, value in query.items() if value}
    records = run(read_audit(Session.open(), given, top, subscription, only_open=only_open))
    chosen = form or ("table" if sys.stdout.isatty() else "jsonl")
    if text := render_records(records, chosen):
        click.echo(text, nl=not text.endswith("\n"))


async def read_audit(
    session: Session, query: Mapping[str, str], top: int, subscription: str | None, *, only_open: bool
) -> list[Any]:
    """Return at most `top` records; raises ApiFailure."""
    kind = "openTunnels" if only_open else "auditRecords"
    path = f"/subscriptions/{await session.find_subscription(subscription)}/providers/Arcgate.Network/{kind}"
    return await session.list_all(path, ARCGATE, query, most=top)


def render_records(records: list[Any], form: str) -> str:
    """Return records as a table, JSON, JSON lines, or CSV that spreadsheets can't run."""
    writers: dict[str, Callable[[], str]] = {
        "table": lambda: render_table(
            list(_COLUMNS), [[cell_text(get(row)) for get in _COLUMNS.values()] for row in records]
        ),
        "json": lambda: json.dumps(records, indent=2),
        "jsonl": lambda: "\n".join(json.dumps(record) for record in records),
        "csv": lambda: _render_csv(records),
    }
    return writers[form]()


def _render_csv(records: list[Any]) -> str:
    keys = list(dict.fromkeys(key for record in records for key in record))
    return render_csv(keys, [[record.get(key) for key in keys] for record in records])


def parse_moment(text: str, now: datetime) -> str:
    """Return a moment as ISO 8601 in UTC; times without a zone are local. Raises click.UsageError."""
    try:
        match = _SPAN.match(text)
        span = timedelta(**{_UNITS[match["unit"]]: int(match["count"])}) if match else None
        moment = now - span if span is not None else datetime.fromisoformat(text)
        return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:
        raise click.UsageError(f"{text!r} is out of range.") from None
    except ValueError:
        raise click.UsageError(f"{text!r} is no time: write 2026-01-31T12:00 or 30m, 2h, 7d.") from None


def local_time(text: Any) -> str:
    """Return an ISO time in the zone of this host, what isn't one unchanged."""
    try:
        return datetime.fromisoformat(str(text)).astimezone().isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return str(text or "")
