"""Gives every answer its request id, and hands back the correlation id that the client chose."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.{}-]{0,127}\Z")


def given_id(text: str | None) -> str | None:
    """Return the id that a client sent, or None when it is missing or not fit to be repeated."""
    return text if text is not None and _GIVEN.match(text) else None


class Correlation:
    """Middleware that sets x-ms-request-id, x-ms-correlation-request-id and the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request with its ids in `scope["state"]` and on the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = str(uuid.uuid4())
        correlation = given_id(headers.get("x-ms-correlation-request-id")) or request_id
        scope.setdefault("state", {})["correlation_id"] = correlation

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                _mark(MutableHeaders(scope=message), request_id, correlation, headers)
            await send(message)

        await self._app(scope, receive, send_with_ids)


def _mark(answer: MutableHeaders, request_id: str, correlation: str, asked: Headers) -> None:
    answer["x-ms-request-id"] = request_id
    answer["x-ms-correlation-request-id"] = correlation
    client_id = given_id(asked.get("x-ms-client-request-id"))
    if client_id and asked.get("x-ms-return-client-request-id", "").lower() == "true":
        answer["x-ms-client-request-id"] = client_id
    answer.setdefault("Cache-Control", "no-store")
    answer["X-Content-Type-Options"] = "nosniff"
