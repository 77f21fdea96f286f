"""Paths of requests: one spelling for one thing, and routes that compare without case.

ARM's clients mix cases and double slashes; both must work. What could be read in two ways (encoded slashes,
dot segments, control characters, bytes that are not UTF-8) is refused before any route sees it.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from arcgate.control.failures import ApiError

LONGEST_PATH = 4096
"""Bytes of a request path as it was sent."""

LARGEST_FIELDS = 64 * 1024
"""Bytes of all header fields."""

_RAW_PATH = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*\Z")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")


def canonical_path(raw: bytes) -> str:
    """Return the decoded path without empty segments; raises ApiError 400 (InvalidRequestUri)."""
    if len(raw) > LONGEST_PATH:
        raise ApiError(414, "RequestUriTooLong", f"The path is longer than {LONGEST_PATH} bytes.")
    if not raw.startswith(b"/") or not _RAW_PATH.match(raw):
        raise _invalid("it holds characters that no path has")
    if b"%2f" in raw.lower():
        raise _invalid("an encoded slash is not allowed")
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid("its percent escapes are not UTF-8") from None
    segments = [segment for segment in path.split("/") if segment]
    if _FORBIDDEN.search(path) or "." in segments or ".." in segments:
        raise _invalid("control characters, backslashes and dot segments are not allowed")
    return "/" + "/".join(segments)


class CanonicalPaths:
    """Middleware that gives the application one spelling of each path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request under its canonical path, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            _require_plain_head(scope["headers"])
            path = canonical_path(scope.get("raw_path") or quote(scope["path"]).encode())
        except ApiError as error:
            await error.to_response()(scope, receive, send)
            return
        await self._app({**scope, "path": path, "raw_path": quote(path).encode()}, receive, send)


class CaselessRoute(Route):
    """A route whose fixed parts compare without case; parameters keep theirs."""

    def __init__(self, path: str, *arguments: Any, **options: Any) -> None:
        super().__init__(path, *arguments, **options)
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)


def _require_plain_head(fields: Sequence[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in fields]
    if b"content-length" in names and b"transfer-encoding" in names:
        # Two readers could end such a body at different places (RFC 9112 section 6.1).
        text = "Content-Length and Transfer-Encoding exclude each other."
        raise ApiError(400, "InvalidHeaders", text, headers={"Connection": "close"})
    if sum(len(name) + len(value) for name, value in fields) > LARGEST_FIELDS:
        text = f"The header fields are larger than {LARGEST_FIELDS} bytes."
        raise ApiError(431, "RequestHeaderFieldsTooLarge", text, headers={"Connection": "close"})


def _invalid(cause: str) -> ApiError:
    return ApiError(400, "InvalidRequestUri", f"The path of the request is malformed: {cause}.")
