"""Audit records from nodes: checked field by field, and laid out as a row that can be searched. Pure."""

import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from arcgate.core.audit import AuditRecord, Event, printable

LONGEST_IDENTIFIER = 100
"""Characters of a tunnel or correlation id."""
LONGEST_ID = 36
"""Characters of a GUID."""

_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})\Z"
)
_NUMBERS = {"policy_revision", "bytes_up", "bytes_down", "duration"}
_FLAGS = {"handed_over"}
_OPTIONAL = {"bytes_up", "bytes_down", "duration"}


def parse_time(text: str) -> datetime:
    """Return the time that an ISO 8601 text with a zone tells; raises ValueError."""
    if not _TIME.match(text):
        raise ValueError("a time is ISO 8601 with a zone, as in 2026-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def read_record(document: Any) -> dict[str, Any]:
    """Return the columns of the row for a record; raises ValueError that says what is wrong with it."""
    if not isinstance(document, dict):
        raise ValueError("a record is an object")
    try:
        record = AuditRecord.from_json(document)
    except KeyError as error:
        raise ValueError(f"the key {error} is missing") from None
    except TypeError as error:
        raise ValueError(str(error)) from None
    _require_types(record)
    return columns(record, _spool(document), _sequence(document))


def _require_types(record: AuditRecord) -> None:
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in _FLAGS:
            if value is not None and not isinstance(value, bool):
                raise ValueError(f"{field.name} must be true, false or null")
        elif field.name in _NUMBERS:
            _require_number(field.name, value)
        elif not isinstance(value, str):
            raise ValueError(f"{field.name} must be a string")
    if not record.tunnel_id or len(record.tunnel_id) > LONGEST_IDENTIFIER:
        raise ValueError(f"tunnel_id has 1 to {LONGEST_IDENTIFIER} characters")
    for name in ("machine_id", "tenant_id", "subscription_id"):
        if len(getattr(record, name)) > LONGEST_ID:
            raise ValueError(f"{name} has at most {LONGEST_ID} characters")


def _require_number(name: str, value: Any) -> None:
    if value is None and name in _OPTIONAL:
        return
    allowed = (int, float) if name == "duration" else int
    if isinstance(value, bool) or not isinstance(value, allowed) or not 0 <= value < 2**63:
        raise ValueError(f"{name} must be a number that is not negative")


def columns(record: AuditRecord, spool: str = "", sequence: int = 0) -> dict[str, Any]:
    """Return the columns of the row for a good record; without a spool it is the control plane's own."""
    body = record.to_json()
    return {
        "tunnel_id": printable(record.tunnel_id, LONGEST_IDENTIFIER),
        "event": record.event.value,
        "time": parse_time(record.time),
        "tenant_id": body["tenantId"].lower(),
        "subscription_id": body["subscriptionId"].lower(),
        "machine_id": body["machineId"].lower(),
        "machine": body["machine"].lower(),
        "target": body["target"],
        "verdict": printable(record.verdict, 20),
        "correlation_id": printable(record.correlation_id, LONGEST_IDENTIFIER),
        "node": body["node"],
        "spool": spool,
        "sequence": sequence,
        "is_open": record.event is Event.START,
        "body": body,
    }


def _spool(document: Mapping[str, Any]) -> str:
    spool = document.get("spool", "")
    if not isinstance(spool, str):
        raise ValueError("spool must be a string")
    return printable(spool)


def _sequence(document: Mapping[str, Any]) -> int:
    sequence = document.get("sequence", 0)
    if isinstance(sequence, bool) or not isinstance(sequence, int) or not 0 <= sequence < 2**63:
        raise ValueError("sequence must be a whole number")
    return sequence
