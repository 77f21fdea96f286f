"""The report as a page."""

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from arcgate.agent.check.model import Endpoint, HopResult, Outcome, Report, Row
from arcgate.agent.check.page import render_page
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import parse_target
from arcgate.core.routing import Way

MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
HOSTILE = '"><script>document.title="taken"</script><img src=x onerror=alert(1)>'
GOOD = Row(
    Endpoint(parse_target("good.example.com:443"), "sign-in"),
    Way.DIRECT,
    "no gateway is associated",
    (HopResult(Hop.DNS, Outcome.PASSED, 0.0021), HopResult(Hop.TARGET, Outcome.PASSED, 0.03)),
    tls="TLS 1.3",
)
ERROR = HopError(Hop.TLS, "TLS_INTERCEPTED", f"Issued by {HOSTILE}", cause="self-signed", remedy="Exempt it.")
BAD = replace(
    GOOD,
    endpoint=Endpoint(parse_target("bad.example.com:443"), HOSTILE),
    hops=(HopResult(Hop.TLS, Outcome.FAILED, 1, ERROR),),
)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def _page(*rows: Row) -> str:
    return render_page(Report("direct", HOSTILE, "", rows, notes=(HOSTILE,)), MADE)


def test_the_page_shows_hops_with_times_and_the_remedy() -> None:
    page = _page(GOOD, BAD)
    assert "✓ DNS 2 ms" in page
    assert "✗ TLS 1000 ms" in page
    assert "Exempt it." in page
    assert "2026-01-02 03:04 UTC" in page


def test_failures_come_first() -> None:
    page = _page(GOOD, BAD)
    assert page.index("bad.example.com") < page.index("good.example.com")


def test_nothing_that_was_found_becomes_markup_and_nothing_is_loaded() -> None:
    reader = _Tags()
    reader.feed(_page(GOOD, BAD))
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in reader.found}
    assert not any(name in {"src", "href"} or name.startswith("on") for _, given in reader.found for name in given)
