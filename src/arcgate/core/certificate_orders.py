"""When to order a certificate, and for which names: pure decisions over a record that survives restarts.

A name that the authority refuses is left out and tried again later, so that one wrong DNS record holds up nothing
else. A restart begins no new round of tries: the record says when the next order may be.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from arcgate.core.errors import InputError

LONGEST_WAIT = timedelta(days=8)
"""What an authority's Retry-After is believed at most; limits of public ones run for a week."""


@dataclass(frozen=True, slots=True)
class Held:
    """The certificate that is there."""

    names: frozenset[str]
    not_before: datetime
    not_after: datetime

    @property
    def renewal(self) -> datetime:
        """When two thirds of its life are over."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A name that the authority refused: why, how often, and when it is tried again."""

    cause: str
    failures: int
    retry: datetime


@dataclass(frozen=True, slots=True)
class Record:
    """What came of the orders so far; `next_order` is the earliest time for another one."""

    tried: datetime | None = None
    succeeded: datetime | None = None
    failures: int = 0
    cause: str = ""
    next_order: datetime | None = None
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as a document; times in ISO 8601."""
        return {
            "tried": _text(self.tried),
            "succeeded": _text(self.succeeded),
            "failures": self.failures,
            "cause": self.cause,
            "nextOrder": _text(self.next_order),
            "leftOut": {
                name: {"cause": one.cause, "failures": one.failures, "retry": _text(one.retry)}
                for name, one in sorted(self.left_out.items())
            },
        }

    @classmethod
    def from_json(cls, document: Any) -> "Record":
        """Return what `to_json` gave; raises InputError (RECORD_INVALID)."""
        try:
            left_out = {
                str(name): LeftOut(str(one["cause"]), int(one["failures"]), datetime.fromisoformat(one["retry"]))
                for name, one in document["leftOut"].items()
            }
            times = [_time(document[key]) for key in ("tried", "succeeded", "nextOrder")]
            return cls(times[0], times[1], int(document["failures"]), str(document["cause"]), times[2], left_out)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError("RECORD_INVALID", "This is no record of orders.", cause=str(error)) from None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast orders may follow each other."""

    between: timedelta
    first_retry: timedelta
    longest_retry: timedelta

    def after_failures(self, count: int, retry_after: timedelta) -> timedelta:
        """Return the pause after so many failures in a row; what the authority wants counts when it is more."""
        own = min(self.longest_retry, self.first_retry * 2.0 ** min(count - 1, 32))
        return max(own, min(retry_after, LONGEST_WAIT))


def names_to_order(wanted: Iterable[str], held: Held | None, record: Record, now: datetime, most: int) -> list[str]:
    """Return the names of the order that is due now, nothing when none is; `wanted` stands in order of weight."""
    if record.next_order is not None and now < record.next_order:
        return []
    names = [one for one in wanted if one not in record.left_out or now >= record.left_out[one].retry][:most]
    is_complete = held is not None and held.names.issuperset(names)
    return [] if held is not None and is_complete and now < held.renewal else names


def next_look(wanted: Iterable[str], held: Held | None, record: Record, now: datetime) -> datetime | None:
    """Return when an order can become due by time alone, None when only new names could make it so."""
    due = [record.left_out[one].retry for one in wanted if one in record.left_out]
    if held is not None:
        due.append(held.renewal)
    if record.next_order is not None:
        due.append(record.next_order)
    return min((one for one in due if one > now), default=None)


def after_success(record: Record, refused: Mapping[str, str], pace: Pace, now: datetime) -> Record:
    """Return the record after a certificate came, without the names that were refused with these causes."""
    left_out = _left_out(record, refused, pace, now)
    return Record(tried=now, succeeded=now, next_order=now + pace.between, left_out=left_out)


def after_failure(
    record: Record, cause: str, refused: Mapping[str, str], retry_after: timedelta, pace: Pace, now: datetime
) -> Record:
    """Return the record after an order without a certificate."""
    failures = record.failures + 1
    return replace(
        record,
        tried=now,
        failures=failures,
        cause=cause,
        next_order=now + max(pace.between, pace.after_failures(failures, retry_after)),
        left_out=_left_out(record, refused, pace, now),
    )


def _left_out(record: Record, refused: Mapping[str, str], pace: Pace, now: datetime) -> dict[str, LeftOut]:
    # Names whose time has come were in this order, and are in it no more unless they were refused again.
    kept = {name: one for name, one in record.left_out.items() if now < one.retry}
    for name, cause in refused.items():
        failures = record.left_out[name].failures + 1 if name in record.left_out else 1
        kept[name] = LeftOut(cause, failures, now + pace.after_failures(failures, timedelta()))
    return kept


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")


def _time(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
