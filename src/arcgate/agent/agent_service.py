"""Requests to the agent service (HIS): discovery, certificate, heartbeat, goal.

The contract is docs/reference/protocols.md, sections 3 and 4.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import structlog

from arcgate.agent.errors import AzcmError
from arcgate.agent.http import ServiceRefusal, require_success
from arcgate.agent.machine_key import MachineKey, parse_certificate
from arcgate.core.audit import printable
from arcgate.core.errors import ArcgateError, InputError
from arcgate.core.extension_goals import ExtensionStatus
from arcgate.core.routing import Goal
from arcgate.core.urls import parse_url
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.tls import join_pem

_log = structlog.get_logger(__name__)

API_VERSION = "2.1"
GOAL_WAIT = 25
"""Seconds that the service may keep a request for news of the goal."""
TOKEN_TIMEOUT = 15.0
"""Seconds; programs that ask for a token wait meanwhile."""

_TOKEN = re.compile(r"[!-~]{1,16384}\Z")


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """What the service answers: seconds to the next heartbeat, and the newest revision of the goal.

    `conflict_since` (ISO 8601) is empty unless another machine reports under our identity.
    """

    interval: float
    goal_revision: int
    conflict_since: str = ""


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """An access token of the machine's identity; `expires_on` is in seconds since the epoch, by the server's clock."""

    access_token: str = field(repr=False)
    expires_on: int
    resource: str
    token_type: str = "Bearer"  # noqa: S105 - a kind


async def discover(http: HttpClient, his: str, location: str) -> str:
    """Return the regional URL of the agent service; raises HopError, ServiceRefusal or AzcmError 81."""
    url = f"{his}/discovery?location={quote(location, safe='')}&api-version={API_VERSION}"
    document = require_success(await http.request_json("GET", url))
    try:
        endpoint = parse_url(str(document.get("endpoint")))
    except InputError as error:
        raise AzcmError(81, "The region's agent service is not known.", cause=error.sentence) from None
    if not endpoint.is_tls:
        raise AzcmError(81, "The region's agent service is not known.", cause="its URL is not https")
    return str(endpoint).rstrip("/")


@dataclass(slots=True)
class AgentService:
    """The agent service for one machine. `clock_offset` is how far the server's clock is ahead of ours."""

    http: HttpClient
    endpoint: str
    machine_id: str
    key: MachineKey
    clock: Callable[[], datetime]
    clock_offset: timedelta = field(default_factory=timedelta)

    async def certificate(self) -> str:
        """Return a new certificate chain in PEM; raises HopError, ServiceRefusal or AzcmError (81, 107)."""
        request = {"csr": self.key.signing_request(self.machine_id)}
        document = require_success(await self._send("POST", "certificate", request))
        certificate, chain = document.get("certificate"), document.get("chain", "")
        if not isinstance(certificate, str) or not isinstance(chain, str):
            raise AzcmError(81, "The agent service sent no certificate.")
        if not self.key.matches(parse_certificate(certificate)):
            raise AzcmError(81, "The agent service sent a certificate for another key.")
        return join_pem([certificate, chain])

    async def heartbeat(self, report: dict[str, Any]) -> HeartbeatAnswer:
        """Report, and return what the service wants; raises HopError or ServiceRefusal."""
        document = require_success(await self._send("POST", "heartbeat", report))
        self._note_time(document.get("serverTime"))
        interval, revision = document.get("interval"), document.get("goalRevision")
        is_number = isinstance(interval, int | float) and not isinstance(interval, bool)
        return HeartbeatAnswer(
            float(interval) if is_number and interval else 300,
            revision if isinstance(revision, int) else 0,
            _conflict_since(document.get("conflict")),
        )

    async def goal(self, after: int, wait: int = GOAL_WAIT) -> Goal | None:
        """Return a goal newer than `after`, None when there was none for `wait` seconds.

        Raises HopError, ServiceRefusal, or InputError (GOAL_INVALID) on a goal that can't be read.
        """
        answer = await self._send("GET", f"goal?after={after}&wait={wait}", timeout=wait + 30)
        if answer.status == 204:
            return None
        try:
            return Goal.from_json(require_success(answer))
        except ServiceRefusal:
            raise
        except (KeyError, TypeError, ValueError, ArcgateError) as error:
            raise InputError("GOAL_INVALID", "The machine's goal can't be read.", cause=repr(error)) from None

    async def extension_settings(self, name: str) -> tuple[int, dict[str, Any], str]:
        """Return revision, settings and sealed protected settings (empty for none) of an extension.

        Raises HopError, ServiceRefusal, or InputError (SETTINGS_INVALID) on settings that can't be read.
        """
        document = require_success(await self._send("GET", f"extensions/{quote(name, safe='')}/settings"))
        revision, settings = document.get("settingsRevision"), document.get("settings")
        sealed = document.get("protectedSettings")
        if type(revision) is not int or not isinstance(settings, dict) or not isinstance(sealed, str | None):
            raise InputError("SETTINGS_INVALID", "The extension's settings can't be read.")
        return revision, settings, sealed or ""

    async def publisher_keys(self) -> list[str]:
        """Return the keys (base64) of publishers that the cloud trusts; raises HopError, ServiceRefusal, InputError."""
        keys = require_success(await self._send("GET", "publishers")).get("keys")
        if not isinstance(keys, list) or not all(isinstance(one, str) for one in keys):
            raise InputError("PUBLISHERS_INVALID", "The publishers' keys can't be read.")
        return keys

    async def report_extension(self, status: ExtensionStatus) -> None:
        """Tell what came of an extension; raises HopError or ServiceRefusal."""
        path = f"extensions/{quote(status.name, safe='')}/status"
        require_success(await self._send("PUT", path, status.to_json()))

    async def token(self, resource: str) -> IdentityToken:
        """Return a fresh token for the resource; raises HopError, ServiceRefusal or InputError (TOKEN_INVALID)."""
        answer = await self._send("POST", "token", {"resource": resource}, timeout=TOKEN_TIMEOUT)
        document = require_success(answer)
        text, expires = document.get("access_token"), document.get("expires_on")
        if not isinstance(text, str) or not _TOKEN.match(text) or type(expires) is not int or expires <= 0:
            raise InputError("TOKEN_INVALID", "The agent service's answer holds no token.")
        return IdentityToken(text, expires, resource)

    async def _send(self, method: str, path: str, document: Any = None, timeout: float = 30) -> Answer:
        answer = await self._send_once(method, path, document, timeout)
        # The assertion's times were wrong: say it again by the server's clock.
        if answer.status == 409 and self._corrected_clock(answer):
            answer = await self._send_once(method, path, document, timeout)
        return answer

    async def _send_once(self, method: str, path: str, document: Any, timeout: float) -> Answer:
        def headers() -> dict[str, str]:  # an assertion is good for one sending
            assertion = self.key.assertion(self.machine_id, self.clock() + self.clock_offset)
            return {"Authorization": f"Bearer {assertion}"}

        return await self.http.request_json(
            method,
            f"{self.endpoint}/machine/{self.machine_id}/{path}",
            document,
            headers=headers,
            timeout=timeout,
        )

    def _corrected_clock(self, answer: Answer) -> bool:
        document = answer.json()
        error = document.get("error") if isinstance(document, dict) else None
        if not isinstance(error, dict) or error.get("code") != "ClockSkew":
            return False
        before = self.clock_offset
        self._note_time(error.get("serverTime", document.get("serverTime")))
        return abs(self.clock_offset - before) > timedelta(seconds=1)

    def _note_time(self, text: Any) -> None:
        try:
            server = datetime.fromisoformat(str(text))
        except ValueError:
            return
        offset = (server if server.tzinfo else server.replace(tzinfo=UTC)) - self.clock()
        # A second or two is the way of the answer, and assertions are good for minutes.
        self.clock_offset = offset if abs(offset) > timedelta(seconds=30) else timedelta()


def _conflict_since(conflict: Any) -> str:
    since = conflict.get("since") if isinstance(conflict, dict) else None
    return printable(since) if isinstance(since, str) else ""
