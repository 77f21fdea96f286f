"""A service principal's certificate with its key, by which `connect` and `disconnect` sign in without a secret."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates
from joserfc import jwt
from joserfc.jwk import RSAKey

from arcgate.agent.errors import AzcmError

LARGEST_FILE = 64 * 1024
"""Bytes."""
ASSERTION_LIFE = 300
"""Seconds."""
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""RFC 7523 section 2.2."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """An RSA key and the certificate that the login service knows it by."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)

    def assertion(self, client_id: str, endpoint: str, now: datetime) -> str:
        """Return a fresh assertion for one request to the token endpoint."""
        issued = int(now.timestamp())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": endpoint,
            "nbf": issued,
            "exp": issued + ASSERTION_LIFE,
            "jti": secrets.token_urlsafe(18),
        }
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        thumbprint = self.certificate.fingerprint(hashes.SHA256()).hex()
        header = {"alg": "RS256", "kid": thumbprint}
        return jwt.encode(header, claims, RSAKey.import_key(pem), algorithms=["RS256"])


def load_client_certificate(path: Path) -> ClientCertificate:
    """Return what a file of PEM, or of PKCS #12 without a password, holds; raises AzcmError 19 or 23."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise AzcmError(19, f"The file {path} can't be read.", cause=error.strerror or "") from None
    try:
        key, certificate = _parse(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unusable(path, "") from None  # a parser's words might quote the file
    if not isinstance(key, rsa.RSAPrivateKey) or certificate is None:
        raise _unusable(path, "an RSA key and its certificate are needed")
    if certificate.public_key() != key.public_key():
        raise _unusable(path, "the certificate is for another key")
    return ClientCertificate(certificate, key)


def _parse(data: bytes) -> tuple[object, x509.Certificate | None]:
    if b"-----BEGIN " in data:
        return load_pem_private_key(data, password=None), x509.load_pem_x509_certificate(data)
    key, certificate, _ = load_key_and_certificates(data, None)
    return key, certificate


def _unusable(path: Path, cause: str) -> AzcmError:
    return AzcmError(
        23,
        f"The file {path} can't be used as a service principal's certificate.",
        cause=cause,
        remedy="Give PEM with certificate and private key, or PKCS #12 (PFX), without a password.",
    )
