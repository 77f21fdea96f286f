"""The installer by the gateway's own name: the few plain requests that a machine without an agent needs.

Only GET of these paths, and the report of an onboarding that failed, are passed on to the control plane; everything
else that isn't CONNECT is refused.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

import structlog

from arcgate.core.errors import HopError
from arcgate.core.verdicts import Reason, Verdict
from arcgate.net.http_client import Answer
from arcgate.net.streams import ByteStream, StreamReset, close_gently
from arcgate.wire.connect import format_answer, format_head, format_refusal
from arcgate.wire.heads import RequestHead

GATEWAY_NAME_FIELD = "Arcgate-Gateway-Name"
"""Tells the control plane by which gateway a plain request came, so that the installer can use it as well."""

_PATHS = re.compile(rb"/(?:azcmagent-linux|azcmagent-windows|ca\.pem|healthz|packages/[A-Za-z0-9._+/-]{1,200})\Z")
REPORT_PATH = b"/log"
"""What a PUT may name."""
_LENGTH = re.compile(r"[0-9]{1,6}\Z", re.ASCII)
LARGEST_REPORT = 64 * 1024
"""Bytes of a report that are passed on: as many as the control plane takes."""
_REPORT_TIMEOUT = 30.0
"""Seconds that a client gets to send its report."""
_SEND_TIMEOUT = 120.0
"""Seconds that a slow client gets to take the answer."""

KEPT = 30.0
"""Seconds that a package is shared before it is fetched again."""
MOST_KEPT = 4
"""Packages and checksums that are kept."""

_log = structlog.get_logger(__name__)

Fetch = Callable[[str, dict[str, str]], Awaitable[Answer]]
"""Gets a path of the control plane with further header fields."""
PassOn = Callable[[bytes], Awaitable[Answer]]
"""Gives the control plane a report."""


def is_plain(head: RequestHead) -> bool:
    """Say whether a request is the installer's to answer or to refuse."""
    return (head.method in {"GET", "HEAD"} and head.target.startswith(b"/")) or (
        head.method == "PUT" and head.target == REPORT_PATH
    )


class Installer:
    """Answers plain requests that came to a gateway's own name.

    Anybody may ask, any number of clients at once: packages are fetched one at a time, and shared by all that ask.
    """

    def __init__(self, fetch: Fetch, report: PassOn, gateway_suffix: str) -> None:
        self._fetch = fetch
        self._report = report
        self._gateway_suffix = gateway_suffix
        self._packages: dict[str, tuple[float, Answer]] = {}
        self._turn = asyncio.Lock()

    async def serve(self, client: ByteStream, head: RequestHead, prefix: str) -> None:
        """Answer one request and close."""
        is_report = head.method == "PUT"
        if not is_report and (_PATHS.match(head.target) is None or b".." in head.target):
            await _send(client, format_refusal(Verdict(Reason.METHOD_NOT_ALLOWED), ""))
            return
        path = head.target.decode("ascii")
        try:
            answer = await (self._pass_on(client, head) if is_report else self._get(path, prefix))
        except HopError as error:
            _log.warning("the control plane does not answer a plain request", path=path, cause=error.one_line())
            # Strangers don't need to know where it is.
            await _send(
                client, format_answer(502, b"The control plane does not answer. Retry later.\n", (), "text/plain")
            )
            return
        kind = answer.headers.get("content-type", "application/octet-stream")
        begin = format_head(answer.status, len(answer.body), (), kind)
        await _send(client, begin, b"" if head.method == "HEAD" else answer.body)

    async def _pass_on(self, client: ByteStream, head: RequestHead) -> Answer:
        try:
            async with asyncio.timeout(_REPORT_TIMEOUT):
                body = await _read_body(client, head)
        except (StreamReset, TimeoutError):
            body = None
        return Answer(400, {}, b"") if body is None else await self._report(body)

    async def _get(self, path: str, prefix: str) -> Answer:
        field = {GATEWAY_NAME_FIELD: prefix + self._gateway_suffix}
        if not path.startswith("/packages/"):
            return await self._fetch(path, field)
        now = asyncio.get_running_loop().time
        async with self._turn:
            end, known = self._packages.get(path, (0.0, None))
            if known is not None and now() < end:
                return known
            answer = await self._fetch(path, field)
            if answer.is_success:
                self._packages.pop(path, None)
                while len(self._packages) >= MOST_KEPT:
                    del self._packages[next(iter(self._packages))]
                self._packages[path] = now() + KEPT, answer
            return answer


async def _read_body(client: ByteStream, head: RequestHead) -> bytes | None:
    """Return a report, None when it has no length, one that is too large, or ends before it; raises StreamReset."""
    lengths = head.all("content-length")
    if len(lengths) != 1 or _LENGTH.match(lengths[0]) is None or head.all("transfer-encoding"):
        return None
    left = int(lengths[0])
    body = b""
    while left <= LARGEST_REPORT and len(body) < left:
        if not (data := await client.receive()):
            return None
        body += data
    return body if len(body) == left else None


async def _send(client: ByteStream, *pieces: bytes) -> None:
    try:
        async with asyncio.timeout(_SEND_TIMEOUT):
            for piece in pieces:
                await client.send(piece)
    except (StreamReset, TimeoutError):
        return
    await close_gently(client)
