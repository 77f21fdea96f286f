"""The node's side of the control plane: it watches for revisions and sends audit records.

What it learns is kept on disk, so that a node works, and restarts, without the control plane.
"""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from arcgate.core.errors import ArcgateError, Hop, HopError
from arcgate.core.snapshot import Snapshot, parse_document
from arcgate.gateway.spool import Spool
from arcgate.net.backoff import Backoff
from arcgate.net.files import read_json, write_json
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.tasks import repeat

WAIT = 25
"""Seconds that the control plane holds a question for news."""

BATCH = 500
"""Audit records in one request."""

GATHERING = 0.2
"""Seconds that records may gather before they are sent: a request for each one would cost more than its tunnel."""

_log = structlog.get_logger(__name__)


class ControlPlane:
    """Requests of a node to the node API; raises HopError for every answer that isn't a success."""

    def __init__(self, client: HttpClient, url: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._headers = {"Authorization": f"Bearer {secret}"}

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._client.close()

    async def send_records(self, lines: list[bytes]) -> None:
        """Send audit records, each a JSON object."""
        await self.ask("POST", "/node/v1/audit", b'{"records":[' + b",".join(lines) + b"]}")

    async def ask(self, method: str, path: str, document: Any = None, *, timeout: float = 30) -> Answer:
        """Return the answer to one request of the node API; a document that is bytes already is JSON as it is."""
        body = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
        headers = {**self._headers, "Accept": "application/json", "Content-Type": "application/json"}
        answer = await self._client.request(method, self._url + path, headers=headers, body=body, timeout=timeout)
        if not answer.is_success:
            raise HopError(
                Hop.TARGET,
                "CONTROL_PLANE_REFUSED",
                f"The control plane answered {answer.status} to {method} {path}.",
                cause=answer.body[:200].decode("utf-8", "replace"),
                remedy="Compare the node secret of this host with the control plane's." if answer.status == 401 else "",
            )
        return answer

    async def get(self, path: str, headers: dict[str, str]) -> Answer:
        """Return whatever the control plane answers to GET of a public path."""
        return await self._client.request("GET", self._url + path, headers=headers, timeout=60)

    async def report(self, body: bytes) -> Answer:
        """Return what the control plane answers to a machine's report of an onboarding that failed."""
        headers = {"Content-Type": "application/json"}
        return await self._client.request("PUT", self._url + "/log", headers=headers, body=body, timeout=30)


class SnapshotWatch:
    """Follows the control plane's revisions. `publish` is called with every new snapshot."""

    def __init__(self, control: ControlPlane, file: Path, publish: Callable[[Snapshot], None]) -> None:
        self._control = control
        self._file = file
        self._publish = publish
        self.snapshot = Snapshot()

    def load(self) -> None:
        """Begin with the last good snapshot on disk; a damaged one is logged and passed over."""
        try:
            document = read_json(self._file)
            if document is not None:
                self.snapshot = Snapshot().apply(*parse_document(document))
                self._publish(self.snapshot)
        except ArcgateError as error:
            _log.error("the kept snapshot is of no use", file=str(self._file), cause=error.one_line())

    async def follow(self) -> None:
        """Ask for newer revisions for as long as it runs."""
        await repeat("follow the control plane's revisions", self._ask_once, Backoff(random.random, 0.2, 10))

    async def _ask_once(self) -> float:
        path = f"/node/v1/snapshot?after={self.snapshot.revision}&wait={WAIT}"
        answer = await self._control.ask("GET", path, timeout=WAIT + 15)
        if answer.status == 204:
            return 0
        document = answer.json()
        entries, revision = parse_document(document)
        base = Snapshot() if isinstance(document, dict) and document.get("reset") else self.snapshot
        self.snapshot = base.apply(entries, revision)
        self._publish(self.snapshot)
        _log.info("policy revision in force", revision=self.snapshot.revision)
        await self._keep()
        return 0

    async def _keep(self) -> None:
        """Write the snapshot to the disk; a full one must not keep the next revision from coming into force."""
        try:
            await asyncio.to_thread(write_json, self._file, self.snapshot.to_json())
        except OSError as error:
            _log.error("the snapshot is in force, but not on disk", file=str(self._file), cause=str(error))


async def send_audit(control: ControlPlane, spool: Spool) -> None:
    """Send audit records to the control plane, in order, for as long as it runs."""

    async def send_batch() -> float:
        spool.news.clear()
        lines, position = spool.unsent(BATCH)
        if not lines:
            await spool.news.wait()
            return GATHERING
        await control.send_records(lines)
        spool.forget(position)
        return 0 if len(lines) == BATCH else GATHERING

    await repeat("send audit records", send_batch, Backoff(random.random, 0.2, 30))
