"""Logging for every process of ours: one line an event, logfmt or JSON, secrets in URLs redacted."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from arcgate.core.urls import redact


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
            _redact_texts,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _redact_texts(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
    return event
