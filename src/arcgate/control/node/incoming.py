"""Gateway nodes' questions about connections to machines: whether a grant holds, and whether one must end."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.incoming import ACCESS, connection_of, hash_of, use_grant, why_not
from arcgate.control.store.models import IncomingConnection
from arcgate.core.verdicts import EndReason

_GRANT = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_ID = re.compile(r"[0-9a-f-]{36}\Z")


async def redeem(context: ControlContext, document: Mapping[str, Any]) -> dict[str, str]:
    """Use a grant up and return who has it; raises ApiError 400 or 403 (GrantInvalid)."""
    port = document.get("port")
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65_536:
        raise _malformed("port")
    grant, machine_id, tunnel_id = (
        _text(document, name, form) for name, form in (("grant", _GRANT), ("machineId", _ID), ("tunnelId", _ID))
    )
    # Strangers' guesses must not stand in the way of those who write.
    async with context.store.read() as session:
        is_known = await session.get(IncomingConnection, hash_of(grant)) is not None
    if is_known:
        async with context.store.write() as transaction:
            row = await use_grant(transaction, grant, machine_id, port, tunnel_id, context.clock())
            if row is not None:
                return {"requester": row.requester}
    raise ApiError(403, "GrantInvalid", "The grant is unknown, used up or too old, or its role is gone.")


async def wait_for_cut(context: ControlContext, tunnel_id: str, wait: float) -> EndReason | None:
    """Return why a connection must end as soon as that is so; None after `wait` seconds."""
    end = asyncio.get_running_loop().time() + wait
    while True:
        ticket = context.changes.ticket(ACCESS)
        async with context.store.read() as session:
            reason = await why_not(session, await connection_of(session, tunnel_id))
        if reason is not None:
            return reason
        left = end - asyncio.get_running_loop().time()
        if left <= 0 or not await context.changes.wait(ticket, left):
            return None


def _text(document: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not form.match(value):
        raise _malformed(name)
    return value


def _malformed(name: str) -> ApiError:
    return ApiError(400, "InvalidRequestContent", f"The value of '{name}' is missing or malformed.", target=name)
