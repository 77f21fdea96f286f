"""What arcproxy.log tells of the requests of a span of time, and how far back it tells of all of them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from arcgate.agent.log_file import KEPT_FILES, LARGEST_FILE
from arcgate.core.errors import InputError
from arcgate.core.names import Target, parse_target
from arcgate.core.routing import Way
from arcgate.core.urls import parse_url

LONGEST_LINE = 64 * 1024
"""Bytes of a line that is looked at."""

_FIELD = re.compile(r'(?P<key>[a-z_]+)=(?P<value>"(?:[^"\\]|\\.)*"|[^ "]*)(?: |\Z)', re.ASCII)
_LOST = "lines were lost while the log could not be written"


@dataclass(frozen=True, slots=True)
class PastRequest:
    """One request that Arc Proxy has served."""

    moment: datetime
    target: Target
    way: Way


@dataclass(frozen=True, slots=True)
class RequestHistory:
    """Requests, oldest first. Of the time before `complete_since` nothing can be said; None when of no time at all."""

    requests: tuple[PastRequest, ...]
    complete_since: datetime | None


def read_history(path: Path, since: datetime) -> RequestHistory:
    """Return the requests since a moment from the log and its older parts; raises OSError."""
    return parse_history(_lines(path), since)


def parse_history(lines: Iterable[str], since: datetime) -> RequestHistory:
    """Return the history that lines of the log tell, in their order. Pure."""
    requests: list[PastRequest] = []
    complete_since: datetime | None = None
    for line in lines:
        fields = {match["key"]: _unquoted(match["value"]) for match in _FIELD.finditer(line)}
        if fields.get("msg") == _LOST:
            complete_since = None
            continue
        if (moment := _moment(fields.get("time", ""))) is None:
            continue
        complete_since = complete_since or moment
        request = _request(moment, fields) if fields.get("msg") == "request" and moment >= since else None
        if request is not None:
            requests.append(request)
    return RequestHistory(tuple(requests), complete_since)


def _request(moment: datetime, fields: dict[str, str]) -> PastRequest | None:
    text = fields.get("target", "")
    try:
        target = parse_url(text).target if "://" in text else parse_target(text)
        return PastRequest(moment, target, Way(fields.get("way", "")))
    except (InputError, ValueError):
        return None  # what was refused for its form needs no rule


def _lines(path: Path) -> Iterator[str]:
    older = [path.with_name(f"{path.name}.{number}") for number in range(KEPT_FILES, 0, -1)]
    for one in (*(each for each in older if each.exists()), path):
        with one.open("rb") as file:
            data = file.read(2 * LARGEST_FILE)
        for line in data.split(b"\n"):
            yield line[:LONGEST_LINE].decode("utf-8", errors="replace")


def _unquoted(value: str) -> str:
    return value[1:-1].replace('\\"', '"') if value.startswith('"') else value


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
