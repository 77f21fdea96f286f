"""Signed packages of extensions: a publisher's Ed25519 signature over the description that names size and SHA-256.

A list of packages is `{"packages": [{"description": text, "signature": base64}, ...]}`; beside each package stands one
such object as `<package>.json`. Signed are the context line and the text, byte for byte as it stands.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from arcgate.core.errors import InputError
from arcgate.core.extension_packages import PackageDescription

CONTEXT = b"arcgate-extension-package 1\n"
"""What a signature of ours for another purpose never begins with."""
MOST_PACKAGES = 5000
"""Packages of a list that are looked at."""

PublicKeys = Sequence[Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class SignedPackage:
    """A description with its signature, not verified yet."""

    text: str
    signature: str

    def to_json(self) -> dict[str, str]:
        """Return the object of lists and of files beside packages."""
        return {"description": self.text, "signature": self.signature}

    @classmethod
    def from_json(cls, document: Any) -> "SignedPackage":
        """Return the object; raises InputError (PACKAGE_UNTRUSTED)."""
        text = document.get("description") if isinstance(document, dict) else None
        signature = document.get("signature") if isinstance(document, dict) else None
        if not isinstance(text, str) or not isinstance(signature, str):
            raise _untrusted("it is not signed")
        return cls(text, signature)

    def verified(self, keys: PublicKeys) -> PackageDescription:
        """Return the description that one of the keys signed.

        Raises InputError (PACKAGE_UNTRUSTED, PACKAGE_DESCRIPTION_INVALID).
        """
        try:
            signature = base64.b64decode(self.signature, validate=True)
        except (ValueError, binascii.Error):
            raise _untrusted("its signature can't be read") from None
        signed = CONTEXT + self.text.encode(errors="replace")
        if not any(fits(key, signature, signed) for key in keys):
            raise _untrusted("no publisher that is trusted here has signed it")
        return PackageDescription.from_text(self.text)


def sign_package(description: PackageDescription, key: Ed25519PrivateKey) -> SignedPackage:
    """Return the description, signed."""
    text = description.to_text()
    return SignedPackage(text, base64.b64encode(key.sign(CONTEXT + text.encode())).decode("ascii"))


def parse_list(document: Any) -> list[SignedPackage]:
    """Return the packages of a list, without what is none; raises InputError (PACKAGES_INVALID)."""
    listed = document.get("packages") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise InputError("PACKAGES_INVALID", "The packages host's list of extensions can't be read.")
    found = []
    for one in listed[:MOST_PACKAGES]:
        try:
            found.append(SignedPackage.from_json(one))
        except InputError:
            continue
    return found


def require_content(description: PackageDescription, content: bytes) -> None:
    """Raise InputError (PACKAGE_TAMPERED) unless these are the bytes that the description is about."""
    if len(content) != description.size or hashlib.sha256(content).hexdigest() != description.sha256:
        raise InputError(
            "PACKAGE_TAMPERED",
            f"The package {description.file_name} is not the one that its publisher signed.",
            cause="its size or SHA-256 is another one",
            remedy="Put the publisher's files in place again, and look for who changes them.",
        )


def read_keys(texts: Sequence[str]) -> PublicKeys:
    """Return public keys of base64 texts (32 bytes each); raises InputError (KEY_INVALID)."""
    try:
        return tuple(Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True)) for text in texts)
    except (ValueError, binascii.Error):
        raise InputError(
            "KEY_INVALID", "This is no publisher's key.", remedy="Give the 32 bytes of an Ed25519 key in base64."
        ) from None


def key_text(key: Ed25519PublicKey) -> str:
    """Return a public key as `read_keys` reads it."""
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode("ascii")


def fits(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    """Say whether the key made this signature over these bytes."""
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _untrusted(cause: str) -> InputError:
    return InputError(
        "PACKAGE_UNTRUSTED",
        "The extension's package is not trusted.",
        cause=cause,
        remedy="Compare the publisher's key with the server's control.extension_keys, and extensions.publisherkeys.",
    )
