"""Routes of the ARM API: each request is authenticated, its version and permission checked, then handled.

The scope of a permission is the path itself: a role at a resource group covers every path below it. What a
caller has no role near is answered like what doesn't exist.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from arcgate.control.arm.caller import Caller, authenticate
from arcgate.control.arm.versions import HYBRID_COMPUTE, negotiate
from arcgate.control.bodies import read_json_object, without_nul
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.paths import CaselessRoute
from arcgate.control.store.models import Subscription
from arcgate.control.urls import base_url
from arcgate.core.guids import is_guid

LONGEST_QUERY = 8192
"""Characters of a query string."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request to the ARM API."""

    request: Request
    context: ControlContext
    caller: Caller
    parameters: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    """Query parameters, names in lower case."""
    version: str
    """The known api-version that answers, and `asked_version` what the client wrote."""
    asked_version: str
    scope: str
    """The path in lower case, under which permissions are looked up."""

    @property
    def subscription_id(self) -> str:
        """The subscription of the path, in lower case."""
        return self.parameters["subscription"].lower()

    @property
    def base(self) -> str:
        """`https://host[:port]` for absolute URLs."""
        return base_url(self.request, self.context.configuration)

    def option(self, name: str, default: str = "") -> str:
        """Return a query parameter by its name in any case; raises ApiError 400 when it stands twice."""
        values = self.query.get(name.lower(), [])
        if len(values) > 1:
            raise ApiError(400, "InvalidQueryParameter", f"The query parameter {name!r} stands more than once.")
        return values[0] if values else default

    async def document(self, *, required: bool = True) -> dict[str, Any]:
        """Return the JSON object of the body; raises ApiError 400, 413 or 415."""
        limit = self.context.configuration.control.largest_body
        return without_nul(await read_json_object(self.request, limit, required=required))

    async def body(self, model: type[Model]) -> Model:
        """Return the body as a model; raises ApiError 400 with all that is wrong with it, in ARM's form."""
        return validated(model, await self.document())

    def require(self, action: str, scope: str | None = None) -> None:
        """Raise ApiError 403 unless the caller may do the action at the scope (default: this path)."""
        self.caller.require(action, self.scope if scope is None else scope)


Handler = Callable[[Call], Awaitable[Response]]
PAGING = ("$top", "$skipToken")
"""Query parameters of every list that comes in pages."""


@dataclass(frozen=True, slots=True)
class Verb:
    """What a method of a path does: its handler and the action that a role must have for it.

    An empty action leaves the permission to the handler, as lists do that show what the caller may see.
    """

    action: str
    handler: Handler
    body: type[BaseModel] | None = None
    """The model of the body, and `query` its parameters beside api-version, for the description of the API."""
    query: tuple[str, ...] = ()


class ArmRoute(CaselessRoute):
    """A route that remembers what it does, for the description of the API."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        verbs: Mapping[str, Verb],
        versions: Sequence[str],
    ) -> None:
        super().__init__(path, endpoint, methods=list(verbs))
        self.verbs = verbs
        self.versions = versions


def arm_route(
    context: ControlContext, path: str, verbs: Mapping[str, Verb], versions: Sequence[str] = HYBRID_COMPUTE
) -> ArmRoute:
    """Return the route of a path with all its methods; `{subscription}` in it is checked to be the caller's."""

    async def endpoint(request: Request) -> Response:
        verb = verbs.get(request.method) or verbs["GET"]  # Starlette lets HEAD pass where GET is
        caller = await authenticate(request, context)
        headers = _take_allowance(request, context, caller)
        try:
            call = _call(request, context, caller, versions)
            await _require_visible(call)
            if verb.action:
                call.require(verb.action)
            response = await verb.handler(call)
        except ApiError as error:
            error.headers |= headers
            raise
        response.headers.update(headers)
        return _found(response) if request.method == "HEAD" else _if_changed(request, response)

    return ArmRoute(path, endpoint, verbs, versions)


def _take_allowance(request: Request, context: ControlContext, caller: Caller) -> dict[str, str]:
    """Return the headers that tell what the caller has left; raises ApiError 429 when that is nothing."""
    settings = context.configuration.control
    subscription = request.path_params.get("subscription", "").lower()
    scope = "subscription" if subscription else "tenant"
    is_read = request.method in ("GET", "HEAD")
    kind, most = ("reads", settings.reads_per_minute) if is_read else ("writes", settings.writes_per_minute)
    # A subscription that nobody has must not get a bucket of its own, or there would be no end of them.
    place = subscription if caller.knows(f"/subscriptions/{subscription}") else ""
    left = context.allowance.take(context.clock(), f"{caller.principal_id} {place} {kind}", most)
    headers = {f"x-ms-ratelimit-remaining-{scope}-{kind}": str(left.remaining)}
    if left.wait:
        text = f"The principal has used up its {most} {kind} a minute."
        wait = {"Retry-After": str(left.wait)}
        code = "SubscriptionRequestsThrottled" if subscription else "TenantRequestsThrottled"
        raise ApiError(429, code, text, remedy=f"Try again in {left.wait} s.", headers={**headers, **wait})
    return headers


def _found(response: Response) -> Response:
    """Return ARM's answer to HEAD: 204 for what is there."""
    if response.status_code != 200:
        return response
    kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(status_code=204, headers=kept)


def _if_changed(request: Request, response: Response) -> Response:
    """Return the response, or 304 without a body when the client has that version already."""
    tag, asked = response.headers.get("etag"), request.headers.get("if-none-match", "")
    if request.method != "GET" or tag is None or response.status_code != 200:
        return response
    known = [one.strip().removeprefix("W/") for one in asked.split(",")]
    if tag not in known and asked.strip() != "*":
        return response
    kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    return Response(status_code=304, headers=kept)


def _call(request: Request, context: ControlContext, caller: Caller, versions: Sequence[str]) -> Call:
    query = read_query(request)
    asked = query.get("api-version", [])
    version = negotiate(asked, versions)
    return Call(request, context, caller, request.path_params, query, version, asked[0], request.url.path.lower())


def read_query(request: Request) -> dict[str, list[str]]:
    """Return the query parameters with names in lower case; raises ApiError 400 or 414."""
    text = request.url.query
    if len(text) > LONGEST_QUERY:
        raise ApiError(414, "RequestUriTooLong", f"The query is longer than {LONGEST_QUERY} characters.")
    try:
        pairs = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise ApiError(400, "InvalidQueryParameter", "The query string is malformed.") from None
    result: dict[str, list[str]] = {}
    for name, values in pairs.items():
        if any("\0" in one for one in (name, *values)):  # not every database can be asked for it
            text = f"The query parameter {name[:60]!a} holds a NUL character."
            raise ApiError(400, "InvalidQueryParameter", text)
        result.setdefault(name.lower(), []).extend(values)
    return result


async def _require_visible(call: Call) -> None:
    """Raise ApiError 404 unless the subscription of the path is of the caller's tenant and known to it."""
    given = call.parameters.get("subscription")
    if given is None:
        return
    if not is_guid(given):
        raise ApiError(
            400,
            "InvalidSubscriptionId",
            f"The provided subscription identifier {given[:60]!a} is malformed or invalid.",
        )
    async with call.context.store.read() as session:
        row = await session.get(Subscription, given.lower())
    known = row is not None and row.tenant_id == call.caller.tenant_id
    if not known or not call.caller.knows(f"/subscriptions/{given}"):
        raise ApiError(404, "SubscriptionNotFound", f"The subscription '{given}' could not be found.")


def validated(model: type[Model], document: Mapping[str, Any]) -> Model:
    """Return the document as a model; raises ApiError 400 (InvalidRequestContent) that lists what is wrong."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> ApiError:
    details = [
        {"code": "InvalidProperty", "target": ".".join(str(part) for part in one["loc"]), "message": one["msg"]}
        for one in error.errors(include_url=False, include_context=False, include_input=False)[:20]
    ]
    first = details[0]
    return ApiError(
        400,
        "InvalidRequestContent",
        f"The request content was invalid: {first['target']}: {first['message']}.",
        target=first["target"],
        details=details,
    )
