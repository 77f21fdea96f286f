"""Client assertions: a service principal proves itself by a JWT that its certificate's key signed (RFC 7523)."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from arcgate.core.errors import InputError

ALGORITHMS = ["RS256", "PS256"]
SKEW = 300
"""Seconds that the client's clock may differ from ours."""
LONGEST_LIFE = 3600
"""Seconds that an assertion may be good for."""
LONGEST_ASSERTION = 16 * 1024
SMALLEST_KEY = 2048
"""Bits of a principal's RSA key."""


class _Registry(JWSRegistry):
    max_header_length = LONGEST_ASSERTION  # clients may send their certificate chain in the header (x5c)


_REGISTRY = _Registry(algorithms=ALGORITHMS, strict_check_header=False)
_CERTIFICATES = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----")


def verify_client_assertion(assertion: str, certificate_pem: str, client_id: str, endpoint: str, now: datetime) -> bool:
    """Say whether the assertion is of the client, for this token endpoint, and of this moment."""
    if len(assertion) > LONGEST_ASSERTION:
        return False
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode("ascii"))
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or not _is_current(certificate, now):
        return False
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        claims = jwt.decode(assertion, RSAKey.import_key(pem), registry=_REGISTRY).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return False
    return _are_ours(claims, client_id, endpoint, now.timestamp())


def read_client_certificate(text: str, now: datetime) -> str:
    """Return a principal's certificate as PEM and nothing else; raises InputError (CERTIFICATE_INVALID)."""
    if len(_CERTIFICATES.findall(text)) != 1 or "PRIVATE KEY" in text:
        raise _unusable("it must be one certificate in PEM form, without its private key")
    try:
        certificate = x509.load_pem_x509_certificate(text.encode("ascii"))
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise _unusable("it can't be read") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < SMALLEST_KEY:
        raise _unusable(f"its key must be RSA of at least {SMALLEST_KEY} bits")
    if now > certificate.not_valid_after_utc:
        raise _unusable("it has expired")
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def thumbprint(certificate_pem: str) -> str:
    """Return the SHA-1 fingerprint under which people know a certificate; it proves nothing."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode("ascii"))
    return certificate.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - a name, not a proof


def _is_current(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _are_ours(claims: Mapping[str, Any], client_id: str, endpoint: str, now: float) -> bool:
    end, start = claims.get("exp"), claims.get("nbf", claims.get("iat", 0))
    if not isinstance(end, int | float) or not isinstance(start, int | float):
        return False
    who = claims.get("iss"), claims.get("sub")
    if not all(isinstance(one, str) and one.lower() == client_id for one in who):
        return False
    return claims.get("aud") == endpoint and now < end <= now + LONGEST_LIFE + SKEW and start <= now + SKEW


def _unusable(cause: str) -> InputError:
    return InputError("CERTIFICATE_INVALID", "The certificate can't be used.", cause=cause)
