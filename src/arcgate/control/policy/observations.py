"""Sums of the audit by machine and target, made by the database."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.store.models import AuditRow
from arcgate.core.audit import INCOMING, Event
from arcgate.core.observation import Observation

MOST_OBSERVATIONS = 200_000
"""Sums of one question; a proposal from more would be no list that anybody reviews."""


async def read_observations(
    session: AsyncSession,
    subscription_id: str,
    *,
    gateway: str,
    since: datetime | None,
    until: datetime | None,
    machine_ids: frozenset[str] | None = None,
) -> list[Observation]:
    """Return what went through, or was refused by, a gateway (resource id), at most `MOST_OBSERVATIONS`."""
    body = AuditRow.body
    groups = (
        *(AuditRow.machine_id, AuditRow.machine, AuditRow.target, AuditRow.verdict, AuditRow.event),
        *(body[name].as_string() for name in ("reason", "feature", "rule")),
    )
    totals = (
        func.count(),
        *(func.coalesce(func.sum(cast(body[name].as_string(), BigInteger)), 0) for name in ("bytesUp", "bytesDown")),
        *(func.min(AuditRow.time), func.max(AuditRow.time)),
    )
    conditions = [
        AuditRow.subscription_id == subscription_id,
        func.lower(body["gateway"].as_string()) == gateway.lower(),
        func.coalesce(body["direction"].as_string(), "") != INCOMING,  # no endpoint of anybody's
        *([AuditRow.time >= since] if since else []),
        *([AuditRow.time < until] if until else []),
    ]
    statement = select(*groups, *totals).where(*conditions).group_by(*groups).limit(MOST_OBSERVATIONS)
    rows = (await session.execute(statement)).all()
    return [one for one in _joined(rows) if machine_ids is None or one.machine_id in machine_ids]


def _joined(rows: Iterable[Any]) -> list[Observation]:
    """Return observations with the bytes of ends added to the requests that starts and refusals tell of."""
    begun: dict[tuple[str, ...], Observation] = {}
    carried: dict[tuple[str, ...], tuple[int, int]] = {}
    for machine_id, machine, target, verdict, event, reason, feature, rule, count, up, down, first, last in rows:
        place = (machine_id, machine, target, verdict, feature, rule)
        if event == Event.END:  # with as many ways to end as there were
            before = carried.get(place, (0, 0))
            carried[place] = before[0] + int(up), before[1] + int(down)
            continue
        facts = (machine_id, machine, target, verdict, reason, feature, rule)
        begun[(*place, reason)] = Observation(*facts, int(count), 0, 0, _iso(first), _iso(last))
    return [_with_bytes(one, carried) for _, one in sorted(begun.items())]


def _with_bytes(one: Observation, carried: dict[tuple[str, ...], tuple[int, int]]) -> Observation:
    place = (one.machine_id, one.machine, one.target, one.verdict, one.feature, one.rule)
    up, down = carried.pop(place, (0, 0))
    facts = (*place[:4], one.reason, one.feature, one.rule, one.requests)
    return Observation(*facts, up, down, one.first, one.last)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
