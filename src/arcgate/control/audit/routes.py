"""Operators' questions to the audit store, in ARM's manner."""

from typing import Any
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.audit.queries import Place, read_page, records_statement
from arcgate.control.context import ControlContext

_QUERY = (*PAGING, "machine", "target", "verdict", "event", "since", "until", "correlationId")
_PROVIDER = "/subscriptions/{subscription}/providers/Arcgate.Network"


def routes(context: ControlContext) -> list[Route]:
    """Return the routes of the audit store."""
    lists = {"auditRecords": _list_records, "openTunnels": _list_open}
    return [
        arm_route(
            context,
            f"{_PROVIDER}/{name}",
            {"GET": Verb(f"Arcgate.Network/{name}/read", handler, query=_QUERY)},
            ARCGATE,
        )
        for name, handler in lists.items()
    ]


async def _list_records(call: Call) -> Response:
    return await _answer(call, only_open=False)


async def _list_open(call: Call) -> Response:
    return await _answer(call, only_open=True)


async def _answer(call: Call, *, only_open: bool) -> Response:
    page = read_page(call.option)
    statement = records_statement(call.subscription_id, call.option, page, only_open=only_open)
    async with call.context.store.read() as session:
        rows = (await session.execute(statement)).scalars().all()
    document: dict[str, Any] = {"value": [row.body for row in rows[: page.size]]}
    if len(rows) > page.size:
        last = rows[page.size - 1]
        document["nextLink"] = _next_link(call, Place(last.time, last.id))
    return JSONResponse(document)


def _next_link(call: Call, place: Place) -> str:
    asked = [(name, value) for name, values in call.query.items() for value in values if name != "$skiptoken"]
    query = urlencode([*asked, ("$skipToken", place.token())], safe="$")
    return f"{call.base}{call.request.url.path}?{query}"
