"""The installer by the gateway's own name: the few plain requests that a machine without an agent needs.

Only GET of these paths is passed on to the control plane; everything else that isn't CONNECT is refused.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

import structlog

from arcgate.core.errors import HopError
from arcgate.core.verdicts import Reason, Verdict
from arcgate.net.http_client import Answer
from arcgate.net.streams import ByteStream, StreamReset, close_gently
from arcgate.wire.connect import format_answer, format_refusal
from arcgate.wire.heads import RequestHead

GATEWAY_NAME_FIELD = "Arcgate-Gateway-Name"
"""Tells the control plane by which gateway a plain request came, so that the installer can use it as well."""

_PATHS = re.compile(rb"/(?:azcmagent-linux|azcmagent-windows|ca\.pem|healthz|packages/[A-Za-z0-9._+/-]{1,200})\Z")
_SEND_TIMEOUT = 120.0
"""Seconds that a slow client gets to take the answer."""

_log = structlog.get_logger(__name__)

Fetch = Callable[[str, dict[str, str]], Awaitable[Answer]]
"""Gets a path of the control plane with further header fields."""


class Installer:
    """Answers plain GET requests that came to a gateway's own name."""

    def __init__(self, fetch: Fetch, gateway_suffix: str) -> None:
        self._fetch = fetch
        self._gateway_suffix = gateway_suffix

    async def serve(self, client: ByteStream, head: RequestHead, prefix: str) -> None:
        """Answer one request and close."""
        if _PATHS.match(head.target) is None or b".." in head.target:
            await _send(client, format_refusal(Verdict(Reason.METHOD_NOT_ALLOWED), ""))
            return
        path = head.target.decode("ascii")
        try:
            answer = await self._fetch(path, {GATEWAY_NAME_FIELD: prefix + self._gateway_suffix})
        except HopError as error:
            _log.warning("the control plane did not give the installer", path=path, cause=error.one_line())
            await _send(client, format_answer(502, error.one_line().encode() + b"\n", (), "text/plain"))
            return
        kind = answer.headers.get("content-type", "application/octet-stream")
        whole = format_answer(answer.status, answer.body, (), kind)
        await _send(client, whole[: len(whole) - len(answer.body)] if head.method == "HEAD" else whole)


async def _send(client: ByteStream, answer: bytes) -> None:
    try:
        async with asyncio.timeout(_SEND_TIMEOUT):
            await client.send(answer)
    except (StreamReset, TimeoutError):
        return
    await close_gently(client)
