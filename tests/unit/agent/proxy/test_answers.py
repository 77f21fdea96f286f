"""Arc Proxy's refusals."""

import json

import pytest

from arcgate.agent.proxy.answers import format_refusal, refusal_of
from arcgate.core.errors import ArcgateError, Hop, HopError, StateError
from arcgate.core.verdicts import Reason
from arcgate.net.dialer import ConnectRefused
from arcgate.wire.connect import Refusal
from arcgate.wire.heads import HeadError, ResponseReader


def _refused(hop: Hop, status: int, code: str = "") -> ConnectRefused:
    refusal = Refusal(status, code, "sentence", "detail", "remedy", "theirs-123")
    return ConnectRefused(hop, f"{hop.name}_REFUSED", "It answered no.", refusal, remedy="Ask why.")


def test_a_gateways_refusal_is_passed_on_as_it_is() -> None:
    error = _refused(Hop.POLICY, 403, "target_not_allowed")
    assert refusal_of(error, "ours-4567") is error.refusal


@pytest.mark.parametrize(("status", "expected"), [(403, 403), (407, 502), (503, 503), (302, 502), (101, 502)])
def test_a_proxys_refusal_never_asks_our_client_for_a_password(status: int, expected: int) -> None:
    refusal = refusal_of(_refused(Hop.PROXY, status), "ours-4567")
    assert refusal.status == expected
    assert refusal.hop == "proxy"
    assert refusal.remedy == "Ask why."


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (HopError(Hop.DNS, "DNS_FAILED", "No."), 502, "dns_failed"),
        (HopError(Hop.POLICY, "ROUTE_REFUSED", "No."), 403, "route_refused"),
        (StateError("TLS_FILE_UNUSABLE", "No."), 502, "tls_file_unusable"),
        (ArcgateError("LIMIT_REACHED", "No."), 503, "limit_reached"),
        (HeadError(Reason.HEAD_TOO_LARGE, "big"), 431, "head_too_large"),
        (HeadError(Reason.HEAD_TIMEOUT, "slow"), 408, "head_timeout"),
        (RuntimeError("secret"), 500, "internal"),
    ],
)
def test_every_error_has_its_status_and_code(error: Exception, status: int, code: str) -> None:
    refusal = refusal_of(error, "ours-4567")
    assert (refusal.status, refusal.code) == (status, code)
    assert "secret" not in format_refusal(refusal, "a.example.com:443").decode()


def test_an_answer_is_well_formed_whatever_the_texts_hold() -> None:
    refusal = Refusal(403, "odd\r\ncode", "naïve", "\x1b[2J\n", "r", "id\r\nX: 1", "proxy")
    reader = ResponseReader()
    head = reader.feed(format_refusal(refusal, "a\r\nb"))
    assert head is not None
    assert head.first("arcgate-reason") == "oddcode"
    assert head.first("x") == ""
    assert head.first("connection") == "close"
    error = json.loads(reader.rest)["error"]
    assert error["hop"] == "proxy"
    assert error["target"].isprintable()
    assert error["detail"].isprintable()


def test_503_says_when_to_come_back() -> None:
    answer = format_refusal(Refusal(503, "draining", "", "", "", "ours-4567"), "")
    assert b"Retry-After: 1\r\n" in answer
