"""Which firewall rules may go."""

from datetime import UTC, datetime, timedelta

import pytest

from arcgate.agent.check.request_history import PastRequest, RequestHistory
from arcgate.agent.check.rules import REACH, Advice, Rule, RulesReport, advise, documented_endpoints
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.names import HostName, Target, parse_target
from arcgate.core.patterns import parse_pattern
from arcgate.core.routing import Goal, Routing, Way

NOW = datetime(2026, 1, 10, tzinfo=UTC)
WITH_GATEWAY = Routing(Goal(gateway_host="prefix.gw.arcgate.test"))
DOCUMENTED = {
    parse_pattern("a.example.com"): "A",
    parse_pattern("*.example.com"): "All",
    parse_pattern("quiet.example.org"): "Quiet",
}


def _request(target: str, way: Way, hours_ago: float = 1) -> PastRequest:
    return PastRequest(NOW - timedelta(hours=hours_ago), parse_target(target, 443), way)


def _advise(*requests: PastRequest, routing: Routing = WITH_GATEWAY, reach: int = 100, hours: int = 24) -> RulesReport:
    return advise(RequestHistory(requests, NOW - timedelta(hours=reach)), DOCUMENTED, routing, NOW, hours)


def _rules(report: RulesReport) -> dict[str, Rule]:
    return {rule.endpoint: rule for rule in report.rules}


def test_what_was_reached_without_the_gateway_stays_with_time_and_target() -> None:
    rules = _rules(_advise(_request("a.example.com", Way.DIRECT, 3), _request("a.example.com", Way.ENTERPRISE, 2)))
    assert rules["a.example.com"].advice is Advice.KEEP
    assert rules["a.example.com"].last_direct == NOW - timedelta(hours=2)
    assert rules["a.example.com"].example == "a.example.com:443"


def test_a_wider_rule_stays_as_well_since_it_may_be_the_one_that_is_open() -> None:
    assert _rules(_advise(_request("a.example.com", Way.DIRECT)))["*.example.com"].advice is Advice.KEEP


def test_what_nothing_asked_for_or_went_through_the_gateway_may_go() -> None:
    rules = _rules(_advise(_request("a.example.com", Way.GATEWAY)))
    assert {rule.advice for rule in rules.values()} == {Advice.MAY_GO}
    assert rules["a.example.com"].why == "1 requests, all through the gateway"
    assert rules["quiet.example.org"].why == "nothing asked for it"


def test_use_before_the_span_does_not_count() -> None:
    assert _rules(_advise(_request("a.example.com", Way.DIRECT, 25)))["a.example.com"].advice is Advice.MAY_GO


def test_nothing_is_said_of_what_was_not_seen_when_the_log_is_too_short() -> None:
    report = _advise(_request("a.example.com", Way.DIRECT), reach=23)
    assert _rules(report)["quiet.example.org"].advice is Advice.UNKNOWN
    assert _rules(report)["a.example.com"].advice is Advice.KEEP
    assert "does not reach back 24 h" in report.notes[0]


def test_nothing_may_go_while_no_gateway_is_in_use() -> None:
    report = _advise(routing=Routing(Goal()))
    assert {rule.advice for rule in report.rules} == {Advice.UNKNOWN}


def test_the_audit_says_more_of_why_and_never_that_a_rule_may_go() -> None:
    carried = {parse_target("a.example.com:443"): NOW - timedelta(hours=5)}
    for reach, advice in ((100, Advice.MAY_GO), (1, Advice.UNKNOWN)):
        history = RequestHistory((), NOW - timedelta(hours=reach))
        rule = _rules(advise(history, DOCUMENTED, WITH_GATEWAY, NOW, 24, carried=carried))["a.example.com"]
        assert rule.advice is advice
        assert rule.why.endswith("; the audit: last through the gateway 2026-01-09T19:00:00+00:00")


def test_refused_requests_need_no_rule() -> None:
    assert _rules(_advise(_request("a.example.com", Way.REFUSE)))["a.example.com"].advice is Advice.MAY_GO


def test_targets_that_no_list_names_are_told_of() -> None:
    report = _advise(_request("own.example.net:8443", Way.DIRECT), _request("own2.example.net", Way.GATEWAY))
    assert report.others == ("own.example.net:8443",)
    assert "  own.example.net:8443" in report.lines()


def test_the_limits_of_the_log_are_always_said() -> None:
    assert _advise().lines()[-1] == REACH
    assert _advise().to_json()["notes"][-1] == REACH


@pytest.mark.parametrize(
    "name", ["management.azure.com", "login.microsoftonline.com", "any.ods.opinsights.azure.com", "v.vault.azure.net"]
)
def test_the_documented_endpoints_hold_what_gateways_carry_and_what_they_do_not(name: str) -> None:
    target = Target(HostName(name), 443)
    assert any(pattern.matches(target) for pattern in documented_endpoints(shipped_catalogue()))
