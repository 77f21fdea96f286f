"""The report of a check as one page of HTML, to keep or to send: nothing is loaded from elsewhere. Pure."""

from collections.abc import Iterable
from datetime import datetime
from html import escape

from arcgate import __version__
from arcgate.agent.check.model import HopResult, Outcome, Report, Row
from arcgate.core.audit import printable

STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #c62828; --unknown: #8a6d00; --line: #8884; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; } dd { margin: 0; }
article { border: 1px solid var(--line); border-left: .4rem solid var(--mark); border-radius: .3rem;
  margin: 1rem 0; padding: .6rem 1rem; }
.true { --mark: var(--good); } .false { --mark: var(--bad); } .unknown { --mark: var(--unknown); }
ol { display: flex; flex-wrap: wrap; gap: .3rem; list-style: none; margin: .5rem 0 0; padding: 0; }
li { border: 1px solid var(--line); border-radius: 1rem; padding: 0 .7rem; }
li.failed { border-color: var(--bad); color: var(--bad); font-weight: bold; }
li.skipped { opacity: .6; } p { margin: .3rem 0; } small { opacity: .8; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_MARKS = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.SKIPPED: "?"}
_VERDICTS = {True: "reached", False: "not reached", None: "not known"}


def render_page(report: Report, made: datetime) -> str:
    """Return the page of a report."""
    verdict = {True: "Everything was reached.", False: "Not everything was reached.", None: "Not all could be tried."}
    facts = [(label, value) for label, value in report.settings() if value]
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Network check</title><style>{STYLE}</style></head><body>",
        f"<h1>{verdict[report.is_reachable]}</h1>",
        f"<p><small>azcmagent check {escape(__version__)}, {made:%Y-%m-%d %H:%M} UTC</small></p>",
        f"<dl>{''.join(f'<dt>{_text(label)}</dt><dd>{_text(value)}</dd>' for label, value in facts)}</dl>",
        *(f"<p>{_text(note)}</p>" for note in report.notes),
        *(_article(row) for row in _worst_first(report.rows)),
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _worst_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: {False: 0, None: 1, True: 2}[row.is_reachable])


def _article(row: Row) -> str:
    kind = {True: "true", False: "false", None: "unknown"}[row.is_reachable]
    failure = row.failure
    parts = [
        f'<article class="{kind}"><h2>{_text(row.endpoint.name)}</h2>',
        f"<p>{_text(row.endpoint.use)}: {_VERDICTS[row.is_reachable]}"
        f" <small>({_text(row.way)}, {_text(row.reason)}{f', {_text(row.tls)}' if row.tls else ''})</small></p>",
        f"<ol>{''.join(_hop(one) for one in row.hops)}</ol>",
    ]
    if failure is not None:
        parts.append(f"<p>{_text(failure.sentence)} {_text(failure.cause)}</p>")
        parts.append(f"<p><b>What to do:</b> {_text(failure.remedy)}</p>" if failure.remedy else "")
    return "".join([*parts, "</article>"])


def _hop(one: HopResult) -> str:
    kind = one.outcome.name.lower()
    time = f" {one.seconds * 1000:.0f} ms" if one.outcome is not Outcome.SKIPPED else ""
    return f'<li class="{kind}" title="{_text(one.outcome)}">{_MARKS[one.outcome]} {_text(one.hop)}{time}</li>'


def _text(value: str) -> str:
    return escape(printable(value, 1000))
