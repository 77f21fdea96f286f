"""The control plane's one application: all path families, and what is common to every answer."""

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arcgate.control.arm.openapi import routes as openapi_routes
from arcgate.control.arm.routes import routes as arm_routes
from arcgate.control.audit.routes import routes as audit_routes
from arcgate.control.context import ControlContext
from arcgate.control.correlation import Correlation
from arcgate.control.database_failures import answer_database
from arcgate.control.failures import ApiError
from arcgate.control.his.routes import routes as his_routes
from arcgate.control.login.routes import routes as login_routes
from arcgate.control.node.routes import routes as node_routes
from arcgate.control.packages.routes import routes as packages_routes
from arcgate.control.paths import CanonicalPaths
from arcgate.control.policy.routes import routes as policy_routes
from arcgate.core.errors import InputError, StateError

_log = structlog.get_logger("arcgate.control")


def create_app(context: ControlContext) -> Starlette:
    """Return the application that serves every control host."""
    application = Starlette(
        routes=_routes(context),
        middleware=[Middleware(Correlation), Middleware(CanonicalPaths), Middleware(Crashes)],
        exception_handlers={
            ApiError: _answer_refusal,
            InputError: _answer_bad_input,
            HTTPException: _answer_http,
            SQLAlchemyError: answer_database,
            ClientDisconnect: _answer_gone,
        },
    )
    application.router.redirect_slashes = False
    return application


def _routes(context: ControlContext) -> list[BaseRoute]:
    arm = [*audit_routes(context), *policy_routes(context), *arm_routes(context)]
    return [
        Route("/healthz", _healthz),
        *his_routes(context),
        *node_routes(context),
        *packages_routes(context),
        *arm,
        *openapi_routes(context, arm),
        # Sign-in last: its paths begin with a parameter.
        *login_routes(context),
    ]


async def _healthz(_request: Request) -> Response:
    return Response("ok\n", media_type="text/plain")


async def _answer_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.to_response()


async def _answer_bad_input(_request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    cause = f" ({error.cause})" if error.cause else ""
    sentence = f"{error.sentence.rstrip('.')}{cause}."
    return ApiError(400, error.code, sentence, remedy=error.remedy).to_response()


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        text = f"The method {request.method[:20]!a} is not allowed here."
        return ApiError(405, "MethodNotAllowed", text, headers=error.headers).to_response()
    if error.status_code == 404:
        return ApiError(404, *_not_found(request.url.path)).to_response()
    return ApiError(error.status_code, "BadRequest", error.detail, headers=error.headers).to_response()


def _not_found(path: str) -> tuple[str, str]:
    parts = path.lower().split("/")
    if "providers" in parts:
        return "InvalidResourceType", "The resource type or operation could not be found in the provider's namespace."
    return "NotFound", "There is nothing at this path."


async def _answer_gone(_request: Request, _error: Exception) -> Response:
    return ApiError(400, "ClientDisconnected", "The client went away before the body was complete.").to_response()


class Crashes:
    """Middleware that answers what we did not foresee with a 500, inside what marks every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request; a crash is logged, and answered unless the answer has begun."""
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note_start)
        except Exception as error:
            _log_crash(scope, error)
            if started or scope["type"] != "http":
                raise
            await _crash_answer()(scope, receive, send)


def _log_crash(scope: Scope, error: Exception) -> None:
    correlation = scope.get("state", {}).get("correlation_id", "")
    if isinstance(error, StateError):
        _log.error("state damaged", problem=error.one_line(), correlation_id=correlation)
    else:
        _log.error("request failed", path=scope.get("path", ""), correlation_id=correlation, exc_info=error)


def _crash_answer() -> Response:
    text = "The control plane failed."
    return ApiError(500, "InternalServerError", text, remedy="Search its log for the correlation id.").to_response()
