"""Long-running operations: ours are over when they are announced, and clients poll them all the same."""

import uuid
from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from arcgate.control.arm.endpoint import Call, Verb, arm_route
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.store import Transaction
from arcgate.control.store.models import Operation

KEPT_DAYS = 7
"""Days that a finished operation can be asked for."""
RETRY_AFTER = 1
"""Seconds until a client's next poll; SDKs read whole seconds only."""


async def record_done(
    transaction: Transaction, call: Call, action: str, resource_id: str, result: dict[str, Any] | None
) -> Operation:
    """Write an operation that has succeeded, with the resource that it left (None after a deletion)."""
    now = call.context.clock()
    old = now - timedelta(days=KEPT_DAYS)
    await transaction.session.execute(delete(Operation).where(Operation.ended_at < old))
    operation = Operation(
        id=str(uuid.uuid4()),
        tenant_id=call.caller.tenant_id,
        subscription_id=call.subscription_id,
        principal_id=call.caller.principal_id,
        resource_id=resource_id,
        action=action,
        status="Succeeded",
        result=result,
        error=None,
        started_at=now,
        ended_at=now,
    )
    transaction.session.add(operation)
    return operation


def polling_headers(call: Call, operation: Operation, location: str) -> dict[str, str]:
    """Return the headers that lead a client to the operation: Azure-AsyncOperation, Location, Retry-After."""
    provider = f"{call.base}/subscriptions/{operation.subscription_id}/providers/Microsoft.HybridCompute"
    tail = f"{operation.id}?api-version={call.asked_version}"
    return {
        "Azure-AsyncOperation": f"{provider}/locations/{location}/operationstatus/{tail}",
        "Location": f"{provider}/locations/{location}/operationresults/{tail}",
        "Retry-After": str(RETRY_AFTER),
    }


def group_headers(call: Call, operation: Operation) -> dict[str, str]:
    """Return the headers of an operation on a resource group, which are polled by Location alone."""
    tail = f"{operation.id}?api-version={call.asked_version}"
    return {
        "Location": f"{call.base}/subscriptions/{operation.subscription_id}/operationresults/{tail}",
        "Retry-After": str(RETRY_AFTER),
    }


def routes(context: ControlContext) -> list[BaseRoute]:
    """Return the routes by which operations are polled."""
    located = "/subscriptions/{subscription}/providers/Microsoft.HybridCompute/locations/{location}"
    status, result = Verb("", _status), Verb("", _result)
    return [
        arm_route(context, f"{located}/operationstatus/{{operation}}", {"GET": status}),
        arm_route(context, f"{located}/operationresults/{{operation}}", {"GET": result}),
        arm_route(context, "/subscriptions/{subscription}/operationresults/{operation}", {"GET": result}),
    ]


async def _status(call: Call) -> Response:
    operation = await _find(call)
    document: dict[str, Any] = {
        "id": call.request.url.path,
        "name": operation.id,
        "status": operation.status,
        "startTime": operation.started_at.isoformat(),
    }
    if operation.ended_at is not None:
        document["endTime"] = operation.ended_at.isoformat()
    if operation.error is not None:
        document["error"] = operation.error
    elif operation.result is not None:
        document["properties"] = operation.result.get("properties", {})
    return JSONResponse(document, headers={"Retry-After": str(RETRY_AFTER)})


async def _result(call: Call) -> Response:
    operation = await _find(call)
    if operation.ended_at is None:
        url = f"{call.base}{call.request.url.path}?api-version={call.asked_version}"
        return Response(status_code=202, headers={"Location": url, "Retry-After": str(RETRY_AFTER)})
    if operation.error is not None:
        return JSONResponse({"error": operation.error}, 409)
    return JSONResponse(operation.result) if operation.result is not None else Response(status_code=200)


async def _find(call: Call) -> Operation:
    async with call.context.store.read() as session:
        found = await session.get(Operation, call.parameters["operation"].lower())
    if found is None or not _may_see(call, found) or _is_old(call, found):
        raise ApiError(404, "OperationNotFound", "The operation could not be found; finished ones are kept for 7 days.")
    return found


def _is_old(call: Call, operation: Operation) -> bool:
    return operation.ended_at is not None and operation.ended_at < call.context.clock() - timedelta(days=KEPT_DAYS)


def _may_see(call: Call, operation: Operation) -> bool:
    if operation.subscription_id != call.subscription_id or operation.tenant_id != call.caller.tenant_id:
        return False
    own = operation.principal_id == call.caller.principal_id
    return own or call.caller.permits("Microsoft.HybridCompute/operations/read", operation.resource_id)
