from datetime import UTC, datetime, timedelta

import pytest

from arcgate.control.arm.machine_view import status_of
from arcgate.core.configuration import ControlSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = ControlSettings(disconnected_after=900, certificate_days=90)


@pytest.mark.parametrize(
    ("age", "status", "since"),
    [
        (None, "AwaitingConnection", timedelta(days=-1)),
        (timedelta(0), "Connected", timedelta(0)),
        (timedelta(seconds=900), "Connected", timedelta(seconds=-900)),
        (timedelta(seconds=901), "Disconnected", timedelta(seconds=-1)),
        (timedelta(days=91), "Expired", timedelta(days=-1)),
        (timedelta(seconds=-30), "Connected", timedelta(seconds=30)),
    ],
)
def test_the_status_follows_the_last_heartbeat(age: timedelta | None, status: str, since: timedelta) -> None:
    heartbeat = NOW - age if age is not None else None
    assert status_of(NOW - timedelta(days=1), heartbeat, SETTINGS, NOW) == (status, NOW + since)
