"""What a certificate request may and may not be."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from arcgate.control.authority.requests import read_public_key, read_request_key, require_same_key
from arcgate.core.errors import InputError

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def request_pem(key: Key, digest: hashes.HashAlgorithm | None = None) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = builder.sign(key, digest or hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(Encoding.PEM).decode()


def pkcs1(key: rsa.RSAPrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)).decode()


def test_a_request_yields_its_key_and_nothing_else(rsa_key: rsa.RSAPrivateKey) -> None:
    assert read_request_key(request_pem(rsa_key)) == rsa_key.public_key()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_elliptic_keys_are_accepted(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    assert read_request_key(request_pem(key)) == key.public_key()


@pytest.mark.parametrize("curve", [ec.SECP192R1(), ec.SECP256K1(), ec.SECP521R1()])
def test_other_curves_are_refused(curve: ec.EllipticCurve) -> None:
    with pytest.raises(InputError, match="not acceptable"):
        read_request_key(request_pem(ec.generate_private_key(curve)))


def test_a_request_with_an_old_digest_is_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(InputError) as raised:
        read_request_key(request_pem(rsa_key, hashes.SHA224()))
    assert "SHA-256" in raised.value.cause


def test_a_weak_key_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(InputError) as raised:
        read_request_key(request_pem(weak))
    assert "2048" in raised.value.cause
    with pytest.raises(InputError) as raised:
        read_public_key(pkcs1(weak))
    assert raised.value.code == "PUBLIC_KEY_INVALID"


def test_a_request_whose_signature_is_anothers_is_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    der = bytearray(x509.load_pem_x509_csr(request_pem(rsa_key).encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(InputError) as raised:
        read_request_key(broken)
    assert "signature" in raised.value.cause


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
        "-----BEGIN CERTIFICATE REQUEST-----\n☃\n-----END CERTIFICATE REQUEST-----",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        "x" * 20_000,
        "\0",
    ],
)
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(InputError) as raised:
        read_request_key(text)
    assert raised.value.code == "REQUEST_INVALID"


def test_two_requests_in_one_are_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(InputError):
        read_request_key(request_pem(rsa_key) * 2)


def test_registered_keys_are_read_in_both_forms(rsa_key: rsa.RSAPrivateKey) -> None:
    public = rsa_key.public_key()
    info = base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    assert read_public_key(pkcs1(rsa_key)) == public
    assert read_public_key(info) == public


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "A" * 5000, "MIIB\nMIIB"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InputError) as raised:
        read_public_key(text)
    assert raised.value.code == "PUBLIC_KEY_INVALID"


def test_a_request_for_anothers_key_is_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    other = rsa.generate_private_key(65537, 2048)
    requested = read_request_key(request_pem(other))
    with pytest.raises(InputError) as raised:
        require_same_key(requested, read_public_key(pkcs1(rsa_key)))
    assert "registered" in raised.value.cause
    require_same_key(read_request_key(request_pem(rsa_key)), read_public_key(pkcs1(rsa_key)))
