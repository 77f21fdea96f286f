"""Certificate signing requests: proof that somebody holds a key, and nothing more.

Names and extensions of a request are never read; what a certificate says comes from the resource alone.
"""

import base64
import binascii
import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from arcgate.control.authority.certificates import PublicKey
from arcgate.core.errors import InputError

LARGEST_REQUEST = 16 * 1024
"""Characters of a PEM request that are looked at."""
SMALLEST_RSA_KEY = 2048
LARGEST_RSA_KEY = 8192
"""Bits; each verification with a larger key costs the server milliseconds."""

_CURVES = ("secp256r1", "secp384r1")
_DIGESTS = ("sha256", "sha384", "sha512")
_PEM = re.compile(
    r"\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----[A-Za-z0-9+/=\s]+"
    r"-----END (?:NEW )?CERTIFICATE REQUEST-----\s*\Z"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")
_PUBLIC_PEM = re.compile(
    r"\s*-----BEGIN (?P<label>(?:RSA )?PUBLIC KEY)-----(?P<base64>[A-Za-z0-9+/=\s]+)-----END (?P=label)-----\s*\Z"
)
_LONGEST_PUBLIC_KEY = 4096


def read_request_key(pem: str) -> PublicKey:
    """Return the public key that the request proves possession of; raises InputError (REQUEST_INVALID)."""
    if len(pem) > LARGEST_REQUEST or not _PEM.match(pem):
        raise _invalid("it is not one PEM certificate request")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
        digest = request.signature_hash_algorithm
        if digest is None or digest.name not in _DIGESTS:
            raise _invalid("its signature needs SHA-256 or better")
        if not request.is_signature_valid:
            raise _invalid("its signature does not fit its key")
        return _require_strong(request.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _invalid("it can't be decoded") from error


def read_public_key(text: str) -> PublicKey:
    """Return the key of a machine's clientPublicKey: base64 of DER (PKCS#1 or SubjectPublicKeyInfo), or PEM.

    Raises InputError (PUBLIC_KEY_INVALID).
    """
    match = _PUBLIC_PEM.match(text) if len(text) <= _LONGEST_PUBLIC_KEY else None
    encoded = "".join(match["base64"].split()) if match else text
    if len(text) > _LONGEST_PUBLIC_KEY or not _BASE64.match(encoded):
        raise _invalid_key("it is not base64 of a DER public key")
    try:
        return _require_strong(load_der_public_key(base64.b64decode(encoded, validate=True)))
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error) as error:
        raise _invalid_key("it is not base64 of a DER public key") from error
    except InputError as error:
        raise _invalid_key(error.cause) from None


def require_same_key(requested: PublicKey, registered: PublicKey) -> None:
    """Raise InputError (REQUEST_INVALID) unless the request is for the registered key."""
    if requested != registered:
        raise _invalid("its key is not the machine's registered one")


def _require_strong(key: object) -> PublicKey:
    match key:
        case rsa.RSAPublicKey() if SMALLEST_RSA_KEY <= key.key_size <= LARGEST_RSA_KEY:
            return key
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case _:
            raise _invalid(f"its key must be RSA of {SMALLEST_RSA_KEY} bits or more, or EC P-256 or P-384")


def _invalid(cause: str) -> InputError:
    return InputError(
        "REQUEST_INVALID",
        "The certificate request is not acceptable.",
        cause=cause,
        remedy="Make a new request with the machine's own key.",
    )


def _invalid_key(cause: str) -> InputError:
    return InputError(
        "PUBLIC_KEY_INVALID",
        "The machine's public key is not acceptable.",
        cause=cause,
        remedy="Register an RSA key of 2048 bits or more, as base64 of its PKCS#1 DER form.",
    )
