"""Endpoint sets and machine groups as resources of Arcgate.Network: parts of the policy that a PUT writes whole."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import PAGING, Call, Verb, arm_route
from arcgate.control.arm.fields import ResourceBody, require_location, require_name
from arcgate.control.arm.lookups import find, listing, require, require_group
from arcgate.control.arm.paging import page_of
from arcgate.control.arm.publication import publish_tenant_part, withdraw_tenant_part
from arcgate.control.arm.stamps import check_preconditions, etag_of, stamp_change, stamp_new, system_data
from arcgate.control.arm.versions import ARCGATE
from arcgate.control.context import ControlContext
from arcgate.control.store import Transaction
from arcgate.control.store.models import EndpointSetRow, MachineGroupRow, ResourceGroup
from arcgate.core.resource_ids import ResourceId

LONGEST_DESCRIPTION = 1000

Row = TypeVar("Row", EndpointSetRow, MachineGroupRow)
Columns = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PolicyResource(Generic[Row]):
    """One type of them, with what is its own."""

    model: type[Row]
    resource_type: str
    what: str
    """What sentences call it."""
    body: type[ResourceBody]
    columns: Callable[[AsyncSession, Call, Any, bool], Awaitable[Columns]]
    """Returns the columns that a body (of a new resource or not) sets; raises ApiError 400."""
    properties: Callable[[Row], dict[str, Any]]
    """Returns what ARM shows of a row beside provisioningState."""

    @property
    def writes(self) -> tuple[str, str]:
        """The actions that change one."""
        return f"{self.resource_type}/write", f"{self.resource_type}/delete"

    def routes(self, context: ControlContext) -> list[BaseRoute]:
        """Return its routes."""
        group = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{self.resource_type}"
        write, delete = self.writes
        verbs = {
            "GET": Verb(self._read, self._get),
            "PUT": Verb(write, self._put, self.body),
            "DELETE": Verb(delete, self._delete),
        }
        lists = {"GET": Verb("", self._list, query=PAGING)}
        return [
            arm_route(context, f"{group}/{{name}}", verbs, ARCGATE),
            arm_route(context, group, lists, ARCGATE),
            arm_route(context, f"/subscriptions/{{subscription}}/providers/{self.resource_type}", lists, ARCGATE),
        ]

    async def create(
        self, transaction: Transaction, call: Call, group: ResourceGroup, name: str, location: str, columns: Columns
    ) -> Row:
        """Make one and publish it."""
        row = self.model(
            id=str(uuid.uuid4()),
            key=f"{group.key}/providers/{self.resource_type.lower()}/{name.lower()}",
            group_key=group.key,
            subscription_id=group.subscription_id,
            tenant_id=call.caller.tenant_id,
            resource_id=str(ResourceId(group.subscription_id, group.name, self.resource_type, name)),
            name=name,
            location=location,
            **columns,
        )
        stamp_new(row, call)
        transaction.session.add(row)
        await publish_tenant_part(transaction, row)
        return row

    async def change(self, transaction: Transaction, call: Call, row: Row, columns: Columns) -> None:
        """Set columns of one and publish it."""
        stamp_change(row, call)
        for column, value in columns.items():
            setattr(row, column, value)
        await publish_tenant_part(transaction, row)

    async def remove(self, transaction: Transaction, row: Row) -> None:
        """Delete one; gateways and machines do without it from then on."""
        await transaction.session.delete(row)
        await withdraw_tenant_part(transaction, row)

    @property
    def _read(self) -> str:
        return f"{self.resource_type}/read"

    def _render(self, row: Row) -> dict[str, Any]:
        return {
            "id": row.resource_id,
            "name": row.name,
            "type": self.resource_type,
            "location": row.location,
            "tags": row.tags or {},
            "systemData": system_data(row),
            "properties": {"provisioningState": "Succeeded", **self.properties(row)},
        }

    def _answer(self, row: Row, status: int = 200) -> JSONResponse:
        return JSONResponse(self._render(row), status, headers={"ETag": etag_of(row)})

    async def _get(self, call: Call) -> Response:
        async with call.context.store.read() as session:
            return self._answer(await require(session, call, self.model, self.resource_type))

    async def _list(self, call: Call) -> Response:
        async with call.context.store.read() as session:
            statement = await listing(call, session, self.model, self._read)
            return await page_of(call, session, statement, self.model.key, self._render)

    async def _put(self, call: Call) -> Response:
        body = await call.body(self.body)
        async with call.context.store.write() as transaction:
            session = transaction.session
            group = await require_group(session, call)
            row = await find(session, call, self.model, self.resource_type)
            check_preconditions(call, row)
            existing = row.location if row is not None else None
            location = require_location(
                body.location or existing or group.location, call.context.configuration, existing
            )
            columns = {"tags": body.tags or {}, **await self.columns(session, call, body, row is None)}
            if row is not None:
                await self.change(transaction, call, row, columns)
            else:
                name = require_name(call.parameters["name"], self.what)
                row = await self.create(transaction, call, group, name, location, columns)
        return self._answer(row, 200 if existing else 201)

    async def _delete(self, call: Call) -> Response:
        async with call.context.store.write() as transaction:
            row = await find(transaction.session, call, self.model, self.resource_type)
            if row is not None:
                check_preconditions(call, row)
                transaction.actor = call.caller.name, call.context.clock()
                await self.remove(transaction, row)
        return Response(status_code=204)
