"""What a machine reports of itself: read strictly, bounded, and kept apart from the machine's own row."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError

from arcgate.control.failures import ApiError
from arcgate.control.his.authentication import machine_not_found
from arcgate.control.his.conflicts import record_conflict
from arcgate.control.store import Store
from arcgate.control.store.models import Heartbeat
from arcgate.core.audit import printable
from arcgate.core.instances import MEMORY, Instances, Sighting

LARGEST_HEARTBEAT = 64 * 1024
"""Bytes of a report."""
MOST_SERVICES = 50
LONGEST_FACT = 128
"""Characters of a fact that tells a clone from its original."""
LARGEST_SECONDS = 2**40

_INSTANCE = re.compile(r"[A-Za-z0-9-]{8,64}\Z")
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
    # Agents of before don't know which revision is in force, only the one that they have.
    has_applied = document.get("appliedRevision") is not None
    report["appliedRevision"] = _whole_number(document, "appliedRevision" if has_applied else "goalRevision")
    report["clockOffset"] = _seconds(document, "clockOffset")
    report["services"] = _services(document.get("services"))
    return report


def read_sighting(document: Mapping[str, Any]) -> Sighting | None:
    """Return which service sent the report, None for agents that don't say; raises ApiError 400 on wrong types."""
    if document.get("instance") is None:
        return None
    instance = _text(document, "instance")
    if not _INSTANCE.match(instance):
        raise _wrong_type("instance", "8 to 64 letters, digits or hyphens")
    facts = (_text(document, name) if document.get(name) is not None else "" for name in ("machineFqdn", "vmUuid"))
    return Sighting(instance, _whole_number(document, "sequence"), *(fact[:LONGEST_FACT] for fact in facts))


async def keep_report(
    store: Store,
    machine_id: str,
    report: dict[str, Any],
    now: datetime,
    sighting: Sighting | None = None,
    interval: float = 0,
) -> Instances:
    """Write the machine's last report in place of the one before, and return who reports under its identity.

    Raises ApiError 404 when the machine is gone.
    """
    try:
        async with store.write() as transaction:
            session = transaction.session
            known = await session.get(Heartbeat, machine_id)
            before = known.body if known is not None else {}
            instances = Instances.from_json(before.get("instances"))
            was_conflict = instances.is_conflict
            if sighting is not None:
                instances = instances.noting(sighting, now, max(MEMORY, timedelta(seconds=6 * interval)))
            body = {**report, "appliedSince": _applied_since(before, report, now), "instances": instances.to_json()}
            await session.merge(Heartbeat(machine_id=machine_id, time=now, body=body))
            if instances.is_conflict and not was_conflict:
                await record_conflict(session, machine_id, instances, now)
    except IntegrityError:  # deleted since the request began
        raise machine_not_found() from None
    return instances


def _applied_since(before: Mapping[str, Any], report: Mapping[str, Any], now: datetime) -> str:
    is_known = before.get("appliedRevision") == report["appliedRevision"] and before.get("appliedSince")
    return str(before["appliedSince"]) if is_known else now.isoformat()


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise _wrong_type(name, "a string")
    return printable(value)


def _seconds(document: Mapping[str, Any], name: str) -> float:
    value = document.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST_SECONDS:
        raise _wrong_type(name, "a number of seconds")
    return value


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
