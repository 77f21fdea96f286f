"""Who asks the agent service: the machine whose key signed the request's assertion."""

from starlette.requests import Request

from arcgate.control.authority.requests import read_public_key
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.his.assertions import ClockSkewError, ReplayCache, bearer_token, server_time, verify_assertion
from arcgate.control.store.models import MachineRow
from arcgate.core.errors import InputError
from arcgate.core.guids import is_guid

_STATUSES = {"AssertionInvalid": 401, "PUBLIC_KEY_INVALID": 401, "ClockSkew": 409, "TooManyRequests": 429}


class Authentication:
    """Finds the machine of a request; remembers assertions, so that none counts twice."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._replays = ReplayCache()

    async def machine(self, request: Request) -> MachineRow:
        """Return the machine that the path names; raises ApiError 401, 404, 409 or 429 if it isn't who asks."""
        try:
            token = bearer_token(request.headers.get("authorization", ""))
            row = await self._find(request.path_params["machine_id"])
            now = self._context.clock()
            assertion = verify_assertion(token, row.id, read_public_key(row.client_public_key), now)
            self._replays.accept(assertion, now)
        except InputError as error:
            raise _refusal(error) from None
        return row

    async def _find(self, machine_id: str) -> MachineRow:
        if not is_guid(machine_id):
            raise machine_not_found()
        async with self._context.store.read() as session:
            row = await session.get(MachineRow, machine_id.lower())
        if row is None:
            raise machine_not_found()
        return row


def machine_not_found() -> ApiError:
    """Return the 404 that tells an agent that its machine resource does not exist (any more)."""
    return ApiError(
        404,
        "MachineNotFound",
        "There is no such machine.",
        remedy="Run 'azcmagent disconnect --force-local-only' and 'azcmagent connect' on the machine.",
    )


def _refusal(error: InputError) -> ApiError:
    if isinstance(error, ClockSkewError):
        return ApiError(409, error.code, error.sentence, remedy=error.remedy, serverTime=server_time(error.server_time))
    status = _STATUSES.get(error.code, 401)
    code = error.code if error.code in {"TooManyRequests"} else "AssertionInvalid"
    cause = f" ({error.cause})" if error.cause else ""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "60"}}[status]
    return ApiError(status, code, f"{error.sentence.rstrip('.')}{cause}.", remedy=error.remedy, headers=headers)
