"""Logging for every process of ours: one line an event, logfmt or JSON, secrets in URLs redacted."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from arcgate.core.audit import printable
from arcgate.core.urls import redact

_HARMLESS = re.compile(r"[\w .:,=\[\]-]{0,300}\Z", re.ASCII)
"""Texts that can hold neither a URL with a password nor anything to escape: nearly all, and looking closer costs."""

LONGEST_LINE = 4000
"""Characters of one line of a text that are written."""


def configure_logging(level: str = "info", form: str = "logfmt", file: TextIO | None = None) -> None:
    """Send structlog's events to `file` (default: standard error) from `level` up."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=["time", "level", "msg"], drop_missing=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            _clean_texts,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _clean_texts(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _clean(value)
    return event


def _clean(value: Any) -> Any:
    """Return the value without passwords of URLs and without characters that a terminal would act on."""
    match value:
        case None | bool() | int() | float():
            return value
        case str() if _HARMLESS.match(value):
            return str(value)
        case dict():
            return {str(key): _clean(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(one) for one in value]
        case _:
            # The renderers escape line feeds; a trace keeps its lines that way.
            return "\n".join(printable(line, LONGEST_LINE) for line in redact(str(value)).split("\n"))
