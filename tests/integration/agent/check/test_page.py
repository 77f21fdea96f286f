"""The page of a report in a browser of a phone's width."""

from datetime import UTC, datetime

from arcgate.agent.check.model import Endpoint, HopResult, Outcome, Report, Row
from arcgate.agent.check.page import render_page
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import parse_target
from arcgate.core.routing import Way
from worlds.browser import browser

LONG = "a" * 60 + "." + "b" * 60 + ".example.com:443"
ERROR = HopError(Hop.TLS, "TLS_INTERCEPTED", "<script>document.title='taken'</script>" + "x" * 300, remedy="Exempt it.")
ROW = Row(Endpoint(parse_target(LONG), "sign-in"), Way.DIRECT, "", (HopResult(Hop.TLS, Outcome.FAILED, 1, ERROR),))


def test_the_page_fits_a_phone_and_runs_nothing() -> None:
    page = render_page(Report("direct", "", "", (ROW,)), datetime(2026, 1, 1, tzinfo=UTC))
    with browser() as chromium:
        tab = chromium.new_page(viewport={"width": 360, "height": 640})
        tab.set_content(page)
        assert tab.title() == "Network check"
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        assert tab.locator("li.failed").inner_text() == "✗ TLS 1000 ms"
        tab.emulate_media(color_scheme="dark")
        assert tab.locator("article").count() == 1
