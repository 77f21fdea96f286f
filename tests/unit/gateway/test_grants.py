"""Grants as a gateway node asks about them."""

import json
from typing import Any

import pytest

from arcgate.core.errors import Hop, HopError
from arcgate.core.verdicts import EndReason, Reason
from arcgate.gateway.grants import Grants, Wish
from arcgate.gateway.node import ControlPlane
from arcgate.gateway.outbound import Refused
from arcgate.net.http_client import Answer

pytestmark = pytest.mark.anyio

GRANT = "g" * 43
WISH = Wish(GRANT, "0a1b2c3d-0000-4000-8000-00000000000f", 22, "11111111-0000-4000-8000-00000000000f")


class ScriptedControl(ControlPlane):
    """Answers in the order of a script; errors in it are raised."""

    def __init__(self, *script: Answer | HopError) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str, Any]] = []

    async def ask(self, method: str, path: str, document: Any = None, *, timeout: float = 30) -> Answer:
        self.asked.append((method, path, document))
        answer = self.script.pop(0)
        if isinstance(answer, HopError):
            raise answer
        return answer


def answer(status: int, document: Any = None) -> Answer:
    return Answer(status, {}, b"" if document is None else json.dumps(document).encode())


def refused(cause: str) -> HopError:
    return HopError(Hop.TARGET, "CONTROL_PLANE_REFUSED", "The control plane answered 403.", cause=cause)


async def test_a_grant_is_redeemed_with_all_that_it_is_bound_to() -> None:
    control = ScriptedControl(answer(200, {"requester": "ann 1"}))
    assert await Grants(control).redeem(WISH) == "ann 1"
    assert control.asked == [
        (
            "POST",
            "/node/v1/incomingConnections",
            {"grant": GRANT, "machineId": WISH.machine_id, "port": 22, "tunnelId": WISH.tunnel_id},
        )
    ]


@pytest.mark.parametrize("grant", ["", "g" * 42, "g" * 44, "g" * 42 + "\n", "ä" * 43])
async def test_what_is_no_grant_is_not_asked_about(grant: str) -> None:
    control = ScriptedControl()
    with pytest.raises(Refused) as raised:
        await Grants(control).redeem(Wish(grant, WISH.machine_id, 22, WISH.tunnel_id))
    assert raised.value.verdict.reason is Reason.GRANT_INVALID
    assert control.asked == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (refused('{"error": {"code": "GrantInvalid"}}'), Reason.GRANT_INVALID),
        (refused('{"error": {"code": "Broken"}}'), Reason.CONTROL_PLANE_UNREACHABLE),
        (HopError(Hop.TCP, "TCP_REFUSED", "No."), Reason.CONTROL_PLANE_UNREACHABLE),
        (answer(200, ["unexpected"]), Reason.CONTROL_PLANE_UNREACHABLE),
    ],
)
async def test_without_a_clear_yes_nobody_gets_in(script: Answer | HopError, reason: Reason) -> None:
    with pytest.raises(Refused) as raised:
        await Grants(ScriptedControl(script)).redeem(WISH)
    assert raised.value.verdict.reason is reason


async def test_a_connection_is_cut_once_the_control_plane_says_so_and_not_when_it_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("arcgate.net.backoff.Backoff.next", lambda _self: 0)
    away = HopError(Hop.TCP, "TCP_REFUSED", "No.")
    control = ScriptedControl(
        answer(204), away, answer(200, {"cut": "nonsense"}), answer(200, {"cut": "access_revoked"})
    )
    cuts: list[EndReason] = []
    await Grants(control).watch("tunnel", cuts.append)
    assert cuts == [EndReason.ACCESS_REVOKED]
    assert {path for _, path, _ in control.asked} == {"/node/v1/incomingConnections/tunnel?wait=25"}
