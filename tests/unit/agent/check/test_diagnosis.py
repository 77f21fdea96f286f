"""What a failed handshake means, in words."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arcgate.agent.check.diagnosis import diagnose
from arcgate.agent.presented import describe
from arcgate.core.errors import Hop

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _certificate(first: datetime, last: datetime) -> x509.Certificate:
    authority = trustme.CA(organization_name="Corp Inspection")
    issued = authority.issue_cert("a.example.com", not_before=first, not_after=last)
    return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())


def _error(code: int, message: str = "no good") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    return error


@pytest.fixture(scope="module")
def certificate() -> x509.Certificate:
    return _certificate(NOW - timedelta(days=5), NOW + timedelta(days=5))


@pytest.mark.parametrize("code", [18, 19, 20, 21])
def test_an_issuer_that_is_not_trusted_is_named(certificate: x509.Certificate, code: int) -> None:
    found = diagnose(_error(code), "a.example.com", certificate.public_bytes(Encoding.DER), NOW)
    assert (found.hop, found.code) == (Hop.TLS, "TLS_INTERCEPTED")
    shown = describe(certificate)
    assert shown.issuer in found.sentence
    for part in (shown.issuer, shown.subject, shown.fingerprint):
        assert part in found.cause
    assert "have a.example.com (this one name) exempted" in found.remedy
    assert "inspection.ca" in found.remedy


def test_interception_is_told_without_the_certificate_too() -> None:
    found = diagnose(_error(20), "a.example.com", None, NOW)
    assert "an unknown authority" in found.sentence
    assert diagnose(_error(20), "a.example.com", b"garbage", NOW).code == "TLS_INTERCEPTED"


@pytest.mark.parametrize(
    ("code", "now", "expected", "words"),
    [
        (10, NOW + timedelta(days=400), "TLS_CERTIFICATE_EXPIRED", "expired"),
        (9, NOW - timedelta(days=400), "TLS_CERTIFICATE_NOT_YET_VALID", "not valid yet"),
    ],
)
def test_dates_are_compared_with_the_clock(
    certificate: x509.Certificate, code: int, now: datetime, expected: str, words: str
) -> None:
    found = diagnose(_error(code), "a.example.com", certificate.public_bytes(Encoding.DER), now)
    assert found.code == expected
    assert words in found.sentence
    assert "2026-11-18 12:00 UTC to 2026-11-28 12:00 UTC" in found.cause


def test_a_wrong_name_is_told_with_the_issuer(certificate: x509.Certificate) -> None:
    der = certificate.public_bytes(Encoding.DER)
    found = diagnose(_error(62, "Hostname mismatch"), "b.example.com", der, NOW)
    assert found.code == "TLS_CERTIFICATE_REFUSED"
    assert found.cause.startswith("Hostname mismatch (issued by ")


def test_other_failures_of_a_handshake_are_told_as_such() -> None:
    error = ssl.SSLError()
    error.reason = "WRONG_VERSION_NUMBER"
    found = diagnose(error, "a.example.com", None, NOW)
    assert found.code == "TLS_FAILED"
    assert "wrong version number" in found.cause.lower()


def test_an_issuer_without_a_name_is_shown_as_it_is() -> None:
    certificate = _certificate(NOW, NOW + timedelta(days=1))
    assert describe(certificate).issuer.startswith("'")
