"""Logs: one line an event, and no secret of a URL in any of them."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from arcgate.net.logs import configure_logging

SECRET = "hunter2secret"


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines_of(form: str, level: str = "info") -> tuple[io.StringIO, structlog.typing.FilteringBoundLogger]:
    file = io.StringIO()
    configure_logging(level, form, file)
    return file, structlog.get_logger()


def test_json_lines_have_time_level_and_message() -> None:
    file, log = lines_of("json")
    log.info("tunnel opened", target="a.example:443", bytes=5)
    entry = json.loads(file.getvalue())
    assert entry["msg"] == "tunnel opened"
    assert entry["level"] == "info"
    assert entry["target"] == "a.example:443"
    assert entry["bytes"] == 5
    assert entry["time"].endswith("Z")


def test_logfmt_lines_begin_with_time_and_level() -> None:
    file, log = lines_of("logfmt")
    log.warning("tunnel refused", reason="dns_failed")
    line = file.getvalue()
    assert line.startswith("time=")
    assert ' level=warning msg="tunnel refused" reason=dns_failed\n' in line


def test_events_below_the_level_are_left_out() -> None:
    file, log = lines_of("json", "warning")
    log.info("quiet")
    log.debug("quieter")
    assert file.getvalue() == ""


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_no_password_of_a_url_is_written_wherever_it_stands(form: str) -> None:
    file, log = lines_of(form)
    url = f"http://user:{SECRET}@proxy.example:3128"
    log.info(f"dial {url}", url=url, nested={"urls": [url, (url,)]}, error=ValueError(url))  # noqa: G004 - a message that holds a URL
    try:
        raise ValueError(url)
    except ValueError:
        log.exception("failed")
    assert SECRET not in file.getvalue()
    assert "proxy.example:3128" in file.getvalue()


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_each_event_is_one_line_whatever_it_holds(form: str) -> None:
    file, log = lines_of(form)
    log.info("a\nb", target="c\r\nd\x1b[2J", key='"quoted" = x')
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")
    assert len(file.getvalue().rstrip("\n").split("\n")) == 2
    assert "\x1b" not in file.getvalue()
    assert "\r" not in file.getvalue()
