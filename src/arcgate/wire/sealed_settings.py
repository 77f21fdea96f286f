"""Protected settings on their way: sealed by the control plane for one machine's key, opened on that machine alone.

A compact JWE (RFC 7516): RSA-OAEP-256 or ECDH-ES, as the key is, around A256GCM. Machine, extension and revision are
inside the seal, so that one sealed value can't be put in the place of another.
"""

import json
import re
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from arcgate.core.errors import InputError

LONGEST_SEALED = 2 * 1024 * 1024
"""Characters of a sealed value."""

_ENCRYPTION = "A256GCM"
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def seal(key: PublicKey, machine_id: str, extension: str, revision: int, settings: dict[str, Any]) -> str:
    """Return the settings sealed for the holder of the private key."""
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    content = {"machine": machine_id, "extension": extension, "settingsRevision": revision, "settings": settings}
    algorithm = _algorithm(isinstance(key, rsa.RSAPublicKey))
    header = {"alg": algorithm, "enc": _ENCRYPTION, "kid": machine_id}
    recipient = RSAKey.import_key(pem) if isinstance(key, rsa.RSAPublicKey) else ECKey.import_key(pem)
    return jwe.encrypt_compact(header, json.dumps(content).encode(), recipient, algorithms=[algorithm, _ENCRYPTION])


def open_sealed(key: PrivateKey, machine_id: str, extension: str, revision: int, sealed: str) -> dict[str, Any]:
    """Return the settings that were sealed for this machine, extension and revision.

    Raises InputError (SEALED_SETTINGS_INVALID), whose text never quotes them.
    """
    if len(sealed) > LONGEST_SEALED or not _COMPACT.match(sealed):
        raise _invalid("they are not in the form that the control plane seals them in")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    recipient = RSAKey.import_key(pem) if isinstance(key, rsa.RSAPrivateKey) else ECKey.import_key(pem)
    algorithms = [_algorithm(isinstance(key, rsa.RSAPrivateKey)), _ENCRYPTION]
    try:
        plain = jwe.decrypt_compact(sealed, recipient, algorithms=algorithms).plaintext or b""
        content = json.loads(plain)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise _invalid("they were sealed for another key, or altered") from None
    expected = {"machine": machine_id, "extension": extension, "settingsRevision": revision}
    if not isinstance(content, dict) or not isinstance(settings := content.pop("settings", None), dict):
        raise _invalid("there are no settings inside")
    if content != expected:
        raise _invalid("they were sealed for another machine, extension or revision")
    return settings


def _algorithm(is_rsa: bool) -> str:
    return "RSA-OAEP-256" if is_rsa else "ECDH-ES"


def _invalid(cause: str) -> InputError:
    return InputError(
        "SEALED_SETTINGS_INVALID",
        "The extension's protected settings can't be opened.",
        cause=cause,
        remedy="Set the extension's protectedSettings again, and see that the machine has its own key.",
    )
