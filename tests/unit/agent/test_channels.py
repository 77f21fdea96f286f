"""A gateway's TLS alerts, in words that say what to do."""

import pytest

from arcgate.agent.channels import explain
from arcgate.agent.surroundings import GatewayPlace
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import HostName

GATEWAY = GatewayPlace(HostName("p.gw.arcgate.test"), 8443)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "clock"),
        ("SSLV3_ALERT_CERTIFICATE_REVOKED", "azcmagent disconnect"),
        ("TLSV1_ALERT_UNKNOWN_CA", "another cloud"),
        ("tlsv1 alert unknown ca", "another cloud"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "no certificate"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "fresh certificate"),
    ],
)
def test_an_alert_about_our_certificate_is_a_gateway_failure_with_its_remedy(cause: str, words: str) -> None:
    found = explain(HopError(Hop.TLS, "TLS_FAILED", "No.", cause=cause), GATEWAY)
    assert (found.hop, found.code) == (Hop.GATEWAY, "GATEWAY_REFUSED_CERTIFICATE")
    assert "p.gw.arcgate.test:8443" in found.sentence
    assert words in found.remedy


def test_a_name_that_the_front_door_does_not_know_is_said() -> None:
    found = explain(HopError(Hop.TLS, "TLS_FAILED", "No.", cause="tlsv1 unrecognized name"), GATEWAY)
    assert found.code == "GATEWAY_UNKNOWN"


@pytest.mark.parametrize("cause", ["", "TLSV1_ALERT_INTERNAL_ERROR", "wrong version number"])
def test_other_failures_stay_as_they_are(cause: str) -> None:
    error = HopError(Hop.TLS, "TLS_FAILED", "No.", cause=cause)
    assert explain(error, GATEWAY) is error
