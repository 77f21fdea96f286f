"""Questions to the audit store: filters of one subscription's records, newest first, page by page.

A page ends with a token that holds the place of its last record, so that records which arrive meanwhile
neither repeat nor hide others.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, or_, select

from arcgate.control.audit.records import parse_time
from arcgate.control.failures import ApiError
from arcgate.control.store.models import AuditRow
from arcgate.core.audit import Event
from arcgate.core.guids import is_guid

DEFAULT_PAGE = 100
LARGEST_PAGE = 1000
"""Records on one page."""
LONGEST_FILTER = 500
"""Characters of one filter."""

_COUNT = re.compile(r"[1-9][0-9]{0,3}\Z", re.ASCII)
_PLACE = re.compile(r"(?P<microseconds>-?[0-9]{1,18}) (?P<id>[0-9]{1,18})\Z", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{4,80}\Z")
_ESCAPE = "\\"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERDICTS = ("allowed", "audited", "refused")

Option = Callable[[str], str]
"""Returns a query parameter, empty when it isn't given."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a record in the order of answers."""

    time: datetime
    id: int

    def token(self) -> str:
        """Return the opaque form of the place."""
        microseconds = (self.time - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(f"{microseconds} {self.id}".encode()).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of an answer is wanted."""

    size: int
    after: Place | None


def read_page(option: Option) -> Page:
    """Return the page that $top and $skipToken ask for; raises ApiError 400."""
    top, token = option("$top"), option("$skipToken")
    if top and (not _COUNT.match(top) or int(top) > LARGEST_PAGE):
        raise _invalid("$top", f"a number from 1 to {LARGEST_PAGE}")
    return Page(int(top) if top else DEFAULT_PAGE, _read_place(token) if token else None)


def _read_place(token: str) -> Place:
    try:
        if not _TOKEN.match(token):
            raise ValueError(token)
        match = _PLACE.match(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii"))
        if match is None:
            raise ValueError(token)
        return Place(_EPOCH + timedelta(microseconds=int(match["microseconds"])), int(match["id"]))
    except (ValueError, OverflowError, binascii.Error):
        raise _invalid("$skipToken", "the token of a nextLink") from None


def records_statement(subscription_id: str, option: Option, page: Page, *, only_open: bool) -> Select[AuditRow]:
    """Return the statement for one page and one record more; raises ApiError 400 on a malformed filter."""
    conditions = [AuditRow.subscription_id == subscription_id, *_filters(option)]
    if only_open:
        conditions.append(AuditRow.is_open.is_(True))
    if page.after is not None:
        same_time = and_(AuditRow.time == page.after.time, AuditRow.id < page.after.id)
        conditions.append(or_(AuditRow.time < page.after.time, same_time))
    newest_first = select(AuditRow).where(*conditions).order_by(AuditRow.time.desc(), AuditRow.id.desc())
    return newest_first.limit(page.size + 1)


def _filters(option: Option) -> list[ColumnElement[bool]]:
    makers: dict[str, Callable[[str], ColumnElement[bool]]] = {
        "machine": _of_machine,
        "target": _of_target,
        "verdict": lambda text: AuditRow.verdict == _one_of("verdict", text, _VERDICTS),
        "event": lambda text: AuditRow.event == _one_of("event", text, tuple(Event)),
        "since": lambda text: AuditRow.time >= _time("since", text),
        "until": lambda text: AuditRow.time < _time("until", text),
        "correlationId": lambda text: AuditRow.correlation_id == text,
    }
    given = {name: option(name) for name in makers}
    for name, text in given.items():
        if len(text) > LONGEST_FILTER or "\0" in text:
            raise _invalid(name, f"at most {LONGEST_FILTER} characters")
    return [makers[name](text) for name, text in given.items() if text]


def _of_machine(text: str) -> ColumnElement[bool]:
    """A machine by resource id, by vmId or by name."""
    text = text.lower()
    if "/" in text:
        return AuditRow.machine == text.rstrip("/")
    if is_guid(text):
        return AuditRow.machine_id == text
    return AuditRow.machine.like(f"%/{_escaped(text)}", escape=_ESCAPE)


def _of_target(text: str) -> ColumnElement[bool]:
    """Targets that hold the text; with a star in it, those that the whole pattern fits."""
    if "*" in text:
        return AuditRow.target.ilike("%".join(_escaped(part) for part in text.split("*")), escape=_ESCAPE)
    return AuditRow.target.ilike(f"%{_escaped(text)}%", escape=_ESCAPE)


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _one_of(name: str, text: str, allowed: tuple[str, ...]) -> str:
    if text.lower() not in allowed:
        raise _invalid(name, f"one of {', '.join(allowed)}")
    return text.lower()


def _time(name: str, text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError:
        raise _invalid(name, "a time in ISO 8601 with its zone, as in 2026-01-31T12:00:00Z") from None


def _invalid(name: str, expected: str) -> ApiError:
    return ApiError(400, "InvalidQueryParameter", f"The value of '{name}' must be {expected}.", target=name)
