"""What a machine reports of itself: read strictly, bounded, and kept apart from the machine's own row."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError

from arcgate.control.failures import ApiError
from arcgate.control.his.authentication import machine_not_found
from arcgate.control.store import Store
from arcgate.control.store.models import Heartbeat
from arcgate.core.audit import printable

LARGEST_HEARTBEAT = 64 * 1024
"""Bytes of a report."""
MOST_SERVICES = 50

_TEXTS = (
    "agentVersion",
    "status",
    "osType",
    "osName",
    "osVersion",
    "osSku",
    "machineFqdn",
    "connectionType",
    "upstreamProxy",
    "certificateSerial",
)


def read_report(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a report that we know, made printable; raises ApiError 400 on wrong types."""
    report: dict[str, Any] = {name: _text(document, name) for name in _TEXTS if document.get(name) is not None}
    report["goalRevision"] = _whole_number(document, "goalRevision")
    report["services"] = _services(document.get("services"))
    return report


async def keep_report(store: Store, machine_id: str, report: dict[str, Any], now: datetime) -> None:
    """Write the machine's last report in place of the one before; raises ApiError 404 when it is gone."""
    try:
        async with store.write() as transaction:
            await transaction.session.merge(Heartbeat(machine_id=machine_id, time=now, body=report))
    except IntegrityError:  # deleted since the request began
        raise machine_not_found() from None


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise _wrong_type(name, "a string")
    return printable(value)


def _whole_number(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise _wrong_type(name, "a whole number")
    return value


def _services(services: Any) -> dict[str, str]:
    if services is None:
        return {}
    if not isinstance(services, dict) or len(services) > MOST_SERVICES:
        raise _wrong_type("services", f"an object of at most {MOST_SERVICES} names")
    if not all(isinstance(state, str) for state in services.values()):
        raise _wrong_type("services", "an object of strings")
    return {printable(name, 60): printable(state, 60) for name, state in services.items()}


def _wrong_type(name: str, expected: str) -> ApiError:
    return ApiError(400, "InvalidRequestContent", f"The value of '{name}' must be {expected}.", target=name)
