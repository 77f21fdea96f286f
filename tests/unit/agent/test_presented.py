"""Whose certificate came: named from what it holds, and told apart from the server's own."""

import pytest
import trustme
from cryptography import x509

from arcgate.agent.presented import describe, explain, intercepted, look, parse
from arcgate.core.errors import Hop, HopError
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


async def test_a_second_look_that_fails_leaves_the_error_as_it_was() -> None:
    error = HopError(Hop.TLS, "TLS_CERTIFICATE_REFUSED", "The certificate is not trusted.")
    assert await look(_nowhere, "gw.example") is None
    assert await explain(error, _nowhere, "gw.example") is error


async def test_other_failures_are_not_looked_into() -> None:
    for hop, code in ((Hop.TLS, "TLS_TIMEOUT"), (Hop.PROXY, "TLS_CERTIFICATE_REFUSED")):
        error = HopError(hop, code, "It failed.")
        assert await explain(error, _nowhere, "gw.example") is error
