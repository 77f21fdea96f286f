"""The report of a check: table, remedies, JSON and exit code."""

import json
from pathlib import Path

import jsonschema_rs

from arcgate.agent.check.model import COLUMNS, Endpoint, HopResult, Outcome, Report, Row
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import parse_target
from arcgate.core.routing import Way

GOOD = Row(
    Endpoint(parse_target("management.arcgate.test:443"), "resource manager"),
    Way.GATEWAY,
    "it belongs to the control plane",
    (HopResult(Hop.TLS, Outcome.PASSED, 0.0201), HopResult(Hop.TARGET, Outcome.PASSED, 0.01)),
    tls="TLS 1.3",
    gateway="p.gw.arcgate.test",
)
ERROR = HopError(Hop.POLICY, "TARGET_NOT_ALLOWED", "It is not\nallowed.", cause="no rule", remedy="Add a rule.")
BAD = Row(
    Endpoint(parse_target("app.example.com:8443"), "--endpoint"),
    Way.GATEWAY,
    "the gateway allows it",
    (HopResult(Hop.TLS, Outcome.PASSED, 0.02), HopResult(Hop.POLICY, Outcome.FAILED, 0.3, ERROR)),
    proxy="http://proxy.example.com:3128",
    gateway="p.gw.arcgate.test",
)


UNTRIED = Row(
    Endpoint(parse_target("b.example.com:443"), "other"),
    Way.GATEWAY,
    "the gateway allows it",
    (HopResult(Hop.TLS, Outcome.PASSED, 0.02), HopResult(Hop.POLICY, Outcome.SKIPPED, 0)),
)
SCHEMA = Path(__file__).parents[4] / "docs/reference/check-report.schema.json"


def _report(*rows: Row, arc_proxy: str = "running") -> Report:
    return Report("gateway", "http://proxy.example.com:3128", "https://p.gw.arcgate.test", rows, arc_proxy)


def test_the_table_has_a_row_for_each_endpoint_in_aligned_columns() -> None:
    lines = _report(GOOD, BAD).lines()
    table = [[cell.strip() for cell in line.split("|")] for line in lines if "|" in line]
    assert table[0] == list(COLUMNS)
    assert table[1] == ["management.arcgate.test", "true", "unknown", "TLS 1.3", "not set", "used", "30 ms"]
    assert table[2] == ["app.example.com:8443", "false", "unknown", "unknown", "set", "used", "320 ms"]
    positions = {tuple(i for i, one in enumerate(line) if one == "|") for line in lines if "|" in line}
    assert len(positions) == 1


def test_settings_stand_above_the_table() -> None:
    lines = _report(GOOD).lines()
    assert lines[:5] == [
        "connection.type : gateway",
        "Upstream Proxy  : http://proxy.example.com:3128",
        "Gateway URL     : https://p.gw.arcgate.test",
        "Arc Proxy       : running",
        "",
    ]


def test_a_broken_row_has_one_line_with_hop_cause_and_remedy() -> None:
    last = _report(GOOD, BAD).lines()[-1]
    assert last == (
        "app.example.com:8443 (--endpoint): policy: It is not\\nallowed. Cause: no rule. What to do: Add a rule."
    )


def test_the_exit_code_says_whether_all_is_well() -> None:
    assert _report(GOOD).exit_code == 0
    assert _report(GOOD, BAD).exit_code == 26
    assert _report().exit_code == 26
    assert _report(GOOD, arc_proxy="not running").exit_code == 4
    assert _report(GOOD, BAD, arc_proxy="not running").exit_code == 26


def test_json_names_the_failed_hop() -> None:
    document = json.loads(json.dumps(_report(GOOD, BAD).to_json()))
    assert document["connectionType"] == "gateway"
    assert document["reachable"] is False
    good, bad = document["endpoints"]
    assert good["reachable"] is True
    assert good["failedHop"] == ""
    assert bad["failedHop"] == "policy"
    assert bad["hops"][1] == {
        "hop": "policy",
        "outcome": "failed",
        "seconds": 0.3,
        "code": "TARGET_NOT_ALLOWED",
        "message": "It is not\\nallowed.",
        "cause": "no rule",
        "remedy": "Add a rule.",
    }


def test_a_row_without_hops_was_not_reached() -> None:
    assert not Row(GOOD.endpoint, Way.DIRECT, "", ()).is_reachable


def test_what_could_not_be_tried_is_neither_good_nor_bad() -> None:
    assert UNTRIED.cells()[1] == "unknown"
    assert _report(GOOD, UNTRIED).exit_code == 0
    assert _report(GOOD, UNTRIED).to_json()["reachable"] is None
    assert _report(UNTRIED, BAD).to_json()["reachable"] is False


def test_notes_stand_at_the_end() -> None:
    report = Report("gateway", "", "", (GOOD, UNTRIED), notes=("Run it with sudo.",))
    assert report.lines()[-1] == "Run it with sudo."
    assert report.to_json()["notes"] == ["Run it with sudo."]


def test_json_is_as_its_schema_says() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for rows in ((), (GOOD, BAD, UNTRIED)):
        document = json.loads(json.dumps(_report(*rows).to_json()))
        jsonschema_rs.validate(schema, document)
    document["endpoints"][0]["failedHop"] = "elsewhere"
    assert not jsonschema_rs.is_valid(schema, document)
    assert schema["$defs"]["hopName"]["enum"] == list(Hop)
