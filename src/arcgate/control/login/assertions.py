"""Client assertions: a service principal proves itself by a JWT that its certificate's key signed (RFC 7523)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

ALGORITHMS = ["RS256", "PS256"]
SKEW = 300
"""Seconds that the client's clock may differ from ours."""
LONGEST_LIFE = 3600
"""Seconds that an assertion may be good for."""
LONGEST_ASSERTION = 16 * 1024


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
        claims = jwt.decode(assertion, RSAKey.import_key(pem), algorithms=ALGORITHMS).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return False
    return _are_ours(claims, client_id, endpoint, now.timestamp())


def thumbprint(certificate: x509.Certificate) -> str:
    """Return the SHA-1 fingerprint under which people know a certificate; it proves nothing."""
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
