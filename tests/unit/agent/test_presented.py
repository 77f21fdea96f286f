"""Whose certificate came: named from what it holds, and told apart from the server's own."""

import ssl

import pytest
import trustme
from cryptography import x509

from arcgate.agent.presented import describe, explain, intercepted, look, parse
from arcgate.core.errors import Hop, HopError
from arcgate.net.dialer import CertificateRefused
from arcgate.net.streams import ByteStream

pytestmark = pytest.mark.anyio


def _certificate(organisation: str = "Corp Inspection") -> x509.Certificate:
    issued = trustme.CA(organization_name=organisation).issue_cert("gw.example")
    return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())


def test_a_certificate_is_told_by_issuer_subject_and_fingerprint() -> None:
    shown = describe(_certificate())
    assert "Corp Inspection" in shown.issuer
    assert len(shown.fingerprint) == 32 * 3 - 1
    assert shown.fingerprint == shown.fingerprint.upper()
    for part in (shown.issuer, shown.subject, shown.fingerprint):
        assert part in str(shown)


def test_bytes_that_are_no_certificate_are_none() -> None:
    assert parse(b"garbage") is parse(b"") is parse(None) is None


def test_the_remedy_names_the_one_name_and_both_ways() -> None:
    error = intercepted("gw.example", describe(_certificate()), "unable to get local issuer certificate")
    assert (error.hop, error.code) == (Hop.TLS, "TLS_INTERCEPTED")
    assert "gw.example (this one name)" in error.remedy
    assert "inspection.ca" in error.remedy
    assert "which is not trusted" in error.sentence
    trusted = intercepted("gw.example", describe(_certificate()), "", is_trusted=True)
    assert "not the server's own" in trusted.sentence


async def _nowhere() -> ByteStream:
    raise HopError(Hop.TCP, "TCP_REFUSED", "Nobody listens.")


def _refused(verify_code: int, hop: Hop = Hop.TLS) -> CertificateRefused:
    cause = ssl.SSLCertVerificationError()
    cause.verify_code, cause.verify_message = verify_code, "no good"
    return CertificateRefused(hop, "gw.example", cause)


async def test_a_second_look_that_fails_leaves_the_error_as_it_was() -> None:
    error = _refused(20)
    assert await look(_nowhere, "gw.example") is None
    assert await explain(error, _nowhere, "gw.example") is error


@pytest.mark.parametrize(
    ("verify_code", "code"),
    [(20, "TLS_INTERCEPTED"), (10, "TLS_CERTIFICATE_EXPIRED"), (62, "TLS_CERTIFICATE_REFUSED")],
)
async def test_only_an_issuer_that_nobody_trusts_is_an_interception(
    monkeypatch: pytest.MonkeyPatch, verify_code: int, code: str
) -> None:
    async def seen(*_: object) -> x509.Certificate:
        return _certificate()

    monkeypatch.setattr("arcgate.agent.presented.look", seen)
    assert (await explain(_refused(verify_code), _nowhere, "gw.example")).code == code


async def test_other_failures_are_not_looked_into() -> None:
    for error in (HopError(Hop.TLS, "TLS_TIMEOUT", "It failed."), _refused(20, Hop.PROXY)):
        assert await explain(error, _nowhere, "gw.example") is error
