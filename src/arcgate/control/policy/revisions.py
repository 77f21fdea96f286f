"""The history of a subscription's policy: what each revision changed, and the way back to one."""

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arcgate.control.arm import gateways
from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.arm.endpoint_sets import ENDPOINT_SETS
from arcgate.control.arm.fields import Body
from arcgate.control.arm.machine_groups import MACHINE_GROUPS
from arcgate.control.arm.paging import make_token, next_link, page_size, read_token
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.policy.restoring import restore
from arcgate.control.store.models import PolicyRevisionRow
from arcgate.core.snapshot import Kind

READ = "Arcgate.Network/policyRevisions/read"
WRITES = (gateways.WRITE, *ENDPOINT_SETS.writes, *MACHINE_GROUPS.writes)

_NUMBER = re.compile(r"[0-9]{1,18}\Z", re.ASCII)


class RollbackBody(Body):
    """Whether only to tell what would change."""

    dryRun: bool = False  # noqa: N815 - wire name


def routes(context: ControlContext) -> list[Route]:
    """Return the routes of the history."""
    place = "/subscriptions/{subscription}/providers/Arcgate.Network/policyRevisions"
    return [
        arm_route(context, place, {"GET": Verb(READ, _list, query=("$top", "$skipToken"))}, ARCGATE),
        arm_route(context, f"{place}/{{revision}}", {"GET": Verb(READ, _get)}, ARCGATE),
        arm_route(context, f"{place}/{{revision}}/rollback", {"POST": Verb(READ, _roll_back, RollbackBody)}, ARCGATE),
    ]


def render(row: PolicyRevisionRow) -> dict[str, Any]:
    """Return a change as the API shows it."""
    return {
        "revision": row.revision,
        "time": row.time.isoformat(),
        "changedBy": row.changed_by,
        "kind": row.kind,
        "resourceId": row.resource_id,
        "before": row.before,
        "after": row.after,
    }


async def _list(call: Call) -> Response:
    size, token = page_size(call), call.option("$skiptoken")
    statement = select(PolicyRevisionRow).where(PolicyRevisionRow.subscription_id == call.subscription_id)
    if token:
        statement = statement.where(PolicyRevisionRow.id < _number(read_token(token)))
    newest_first = statement.order_by(PolicyRevisionRow.id.desc()).limit(size + 1)
    async with call.context.store.read() as session:
        rows = list((await session.execute(newest_first)).scalars())
    page: dict[str, Any] = {"value": [render(row) for row in rows[:size]]}
    if len(rows) > size:
        page["nextLink"] = next_link(call, make_token(str(rows[size - 1].id)))
    return JSONResponse(page)


async def _get(call: Call) -> Response:
    revision = _number(call.parameters["revision"])
    async with call.context.store.read() as session:
        rows = await _rows(session, call, PolicyRevisionRow.revision == revision)
    if not rows:
        raise ApiError(404, "RevisionNotFound", f"Revision {revision} changed nothing of this subscription's policy.")
    return JSONResponse({"value": [render(row) for row in rows]})


async def _roll_back(call: Call) -> Response:
    """Make the policy what it was after a revision, as a new revision; what others changed meanwhile goes with it."""
    revision = _number(call.parameters["revision"])
    body = RollbackBody.model_validate({}) if not await call.request.body() else await call.body(RollbackBody)
    for action in WRITES:
        call.require(action, f"/subscriptions/{call.subscription_id}")
    async with call.context.store.write() as transaction:
        undone = _first_of_each(await _rows(transaction.session, call, PolicyRevisionRow.revision > revision))
        if body.dryRun:
            return JSONResponse({"revision": None, "value": [one.to_json() for one in undone], "skipped": []})
        transaction.actor = call.caller.name, call.context.clock()
        skipped = [one.resource_id for one in undone if not await restore(transaction, call, one.row)]
        made = await transaction.revision() if undone else None
    done = [one.to_json() for one in undone if one.resource_id not in skipped]
    return JSONResponse({"revision": made, "value": done, "skipped": skipped})


@dataclass(frozen=True, slots=True)
class Undone:
    """A part of the policy with the change before which it was as it shall be again."""

    row: PolicyRevisionRow

    @property
    def resource_id(self) -> str:
        """The gateway, endpoint set or machine group."""
        return self.row.resource_id

    def to_json(self) -> dict[str, Any]:
        """Return what it becomes again."""
        return {"kind": self.row.kind, "resourceId": self.row.resource_id, "after": self.row.before}


def _first_of_each(rows: list[PolicyRevisionRow]) -> list[Undone]:
    """Return the oldest change of each part; endpoint sets first, since the others name them."""
    oldest: dict[tuple[str, str], PolicyRevisionRow] = {}
    for row in rows:
        oldest.setdefault((row.kind, row.entry_key), row)
    order = (Kind.ENDPOINT_SET, Kind.MACHINE_GROUP, Kind.GATEWAY)
    return [Undone(row) for row in sorted(oldest.values(), key=lambda row: order.index(Kind(row.kind)))]


async def _rows(session: AsyncSession, call: Call, condition: Any) -> list[PolicyRevisionRow]:
    statement = select(PolicyRevisionRow).where(PolicyRevisionRow.subscription_id == call.subscription_id, condition)
    return list((await session.execute(statement.order_by(PolicyRevisionRow.id))).scalars())


def _number(text: str) -> int:
    if not _NUMBER.match(text):
        raise ApiError(400, "InvalidRevision", f"{text[:60]!a} is not the number of a revision.")
    return int(text)
