"""Grants of incoming connections: the control plane says whether one holds, and for how long."""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from arcgate.core.errors import ArcgateError, HopError
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.node import WAIT, ControlPlane
from arcgate.gateway.outbound import Refused
from arcgate.net.backoff import Backoff

_GRANT = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_PATH = "/node/v1/incomingConnections"
_CUTS = {one.value: one for one in (EndReason.ACCESS_REVOKED, EndReason.CUT_BY_OPERATOR)}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for with a grant; `tunnel_id` is what the connection will be known by."""

    grant: str
    machine_id: str
    port: int
    tunnel_id: str


class GrantDesk(Protocol):
    """Whoever knows of grants."""

    async def redeem(self, wish: Wish) -> str:
        """Use the grant up and return who has it; raises Refused."""
        ...

    async def watch(self, tunnel_id: str, cut: Callable[[EndReason], None]) -> None:
        """Call `cut` once the connection must end; runs until then."""
        ...


class Grants:
    """Grants as the control plane keeps them."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    async def redeem(self, wish: Wish) -> str:
        """See GrantDesk."""
        if not _GRANT.match(wish.grant):
            raise Refused(Verdict(Reason.GRANT_INVALID))
        document = {
            "grant": wish.grant,
            "machineId": wish.machine_id,
            "port": wish.port,
            "tunnelId": wish.tunnel_id,
        }
        try:
            answer = (await self._control.ask("POST", _PATH, document)).json()
            return str(answer["requester"])
        except HopError as error:
            if error.code == "CONTROL_PLANE_REFUSED" and "GrantInvalid" in error.cause:
                raise Refused(Verdict(Reason.GRANT_INVALID)) from None
            raise Refused(Verdict(Reason.CONTROL_PLANE_UNREACHABLE, detail=error.one_line())) from None
        except (ArcgateError, KeyError, TypeError) as error:
            raise Refused(Verdict(Reason.CONTROL_PLANE_UNREACHABLE, detail=str(error))) from None

    async def watch(self, tunnel_id: str, cut: Callable[[EndReason], None]) -> None:
        """See GrantDesk. A control plane that can't be reached ends nothing."""
        backoff = Backoff(random.random, 0.2, 10)
        while True:
            try:
                path = f"{_PATH}/{tunnel_id}?wait={WAIT}"
                answer = await self._control.ask("GET", path, timeout=WAIT + 15)
                backoff.reset()
            except ArcgateError as error:
                _log.warning("an incoming connection can't be asked about", tunnel=tunnel_id, cause=error.one_line())
                await asyncio.sleep(backoff.next())
                continue
            if (reason := _cut_of(answer.json() if answer.status == 200 else None)) is not None:
                cut(reason)
                return


def _cut_of(document: Any) -> EndReason | None:
    return _CUTS.get(str(document.get("cut"))) if isinstance(document, dict) else None
