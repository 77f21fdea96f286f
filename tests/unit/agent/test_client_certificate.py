"""A service principal's certificate: what is read, and what it signs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

from arcgate.agent.client_certificate import load_client_certificate
from arcgate.agent.errors import AzcmError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=3650))
    return dated.sign(key, hashes.SHA256())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, of: x509.Certificate) -> bytes:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + of.public_bytes(Encoding.PEM)


def pfx(password: bytes = b"") -> bytes:
    kind = BestAvailableEncryption(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"client", KEY, certificate(KEY), None, kind)


@pytest.mark.parametrize("content", [pem(KEY, certificate(KEY)), pfx()])
def test_pem_and_pfx_sign_for_their_client_and_endpoint_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "client").write_bytes(content)
    made = load_client_certificate(tmp_path / "client").assertion("app", "https://login.example/token", NOW)
    claims = jwt.decode(made, RSAKey.import_key(KEY.public_key()), algorithms=["RS256"]).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("app", "app", "https://login.example/token")
    assert claims["exp"] - claims["nbf"] == 300


OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        certificate(KEY).public_bytes(Encoding.PEM),
        pem(CURVE, certificate(CURVE)),
        pem(KEY, certificate(OTHER)),
        pfx(b"password"),
    ],
)
def test_what_cannot_be_used_is_azcm0023_without_its_content(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "client").write_bytes(content)
    with pytest.raises(AzcmError) as caught:
        load_client_certificate(tmp_path / "client")
    assert caught.value.number == 23
    assert "BEGIN" not in caught.value.one_line()


def test_a_missing_file_is_azcm0019(tmp_path: Path) -> None:
    with pytest.raises(AzcmError) as caught:
        load_client_certificate(tmp_path / "none")
    assert caught.value.number == 19
