"""A tunnel's start and end tell the same of it, and each is told once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from arcgate.core.names import parse_authority
from arcgate.core.policy import Admission
from arcgate.core.verdicts import EndReason, Reason, Verdict
from arcgate.gateway.accounting import Accounting
from arcgate.gateway.spool import Spool
from arcgate.gateway.tunnels import Tunnel

DIFFERENT = {"event", "reason", "detail", "bytesUp", "bytesDown", "duration", "handedOver"}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    one = Spool(tmp_path / "spool")
    yield one
    one.close()


def make_tunnel() -> Tunnel:
    return Tunnel(
        id="t-1",
        correlation_id='c","event":"start",',
        gateway_prefix="gw",
        certificate=None,
        target=parse_authority(b"example.com:443"),
        client_address="192.0.2.1",
        admission=Admission(None, None),
        verdict=Verdict(Reason.FEATURE, detail="a detail"),
        policy_revision=7,
        address=IPv4Address("192.0.2.2"),
    )


def told(spool: Spool) -> list[dict[str, Any]]:
    return [json.loads(line) for line in spool.unsent(100)[0]]


@pytest.mark.parametrize("is_readable", [True, False], ids=["from the spool", "anew"])
def test_the_end_says_of_the_tunnel_what_its_start_said(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, is_readable: bool
) -> None:
    accounting, tunnel = Accounting(spool, "node", lambda: datetime(2026, 1, 1, tzinfo=UTC)), make_tunnel()
    accounting.start(tunnel)
    tunnel.traffic.up, tunnel.traffic.down, tunnel.was_handed_over = 3, 4, True
    if not is_readable:
        monkeypatch.setattr(Spool, "start_of", lambda _spool, _id: None)
    accounting.end(tunnel, EndReason.COMPLETED)
    accounting.end(tunnel, EndReason.SHUTDOWN)
    start, end = told(spool)
    assert (start["event"], end["event"], end["reason"]) == ("start", "end", "completed")
    assert {key for key in start if start[key] != end[key]} <= DIFFERENT
    assert start.keys() == end.keys()
    assert (end["bytesUp"], end["bytesDown"], end["handedOver"]) == (3, 4, True)


def test_a_tunnel_that_was_not_started_has_no_end(spool: Spool) -> None:
    Accounting(spool, "node", lambda: datetime(2026, 1, 1, tzinfo=UTC)).end(make_tunnel(), EndReason.COMPLETED)
    assert told(spool) == []
