"""The certificate that proves a name (RFC 8737 section 3)."""

import hashlib
from datetime import UTC, datetime

from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from arcgate.control.acme.challenges import ACME_IDENTIFIER, TlsAlpnChallenge, find_challenge, proof_pem

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


def authorization(*kinds: str) -> messages.Authorization:
    document = {
        "identifier": {"type": "dns", "value": "a.example"},
        "status": "pending",
        "challenges": [{"type": kind, "url": f"https://ca/{kind}", "token": TOKEN} for kind in kinds],
    }
    found = messages.Authorization.from_json(document)
    assert isinstance(found, messages.Authorization)
    return found


def test_our_challenge_is_found_among_others() -> None:
    found = find_challenge(authorization("http-01", "tls-alpn-01", "dns-account-01"))
    assert found is not None
    assert isinstance(found.chall, TlsAlpnChallenge)
    assert found.uri == "https://ca/tls-alpn-01"
    assert find_challenge(authorization("http-01", "dns-01")) is None


def test_the_certificate_is_for_the_name_alone_and_shows_the_digest_critically() -> None:
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    challenge = find_challenge(authorization("tls-alpn-01"))
    assert challenge is not None
    assert isinstance(challenge.chall, TlsAlpnChallenge)
    digest = challenge.chall.validation(key)
    assert digest == hashlib.sha256(challenge.chall.key_authorization(key).encode()).digest()
    certificate = x509.load_pem_x509_certificate(proof_pem("a.example", digest, NOW).encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("a.example")]
    extension = certificate.extensions.get_extension_for_oid(ACME_IDENTIFIER)
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x04\x20" + digest
