"""The signed bundle of a catalogue: its texts, where they come from, and an Ed25519 signature over both.

    {"format": "arcgate-catalogue-1", "content": text, "key": id of the key, "signature": base64}

`content` is the JSON text {"texts": [TOML, ...], "provenance": {...}} and is signed byte for byte as it stands.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from arcgate.core.catalogue import Catalogue, parse_catalogue
from arcgate.core.errors import InputError

FORMAT = "arcgate-catalogue-1"
LARGEST_BUNDLE = 4 * 1024 * 1024
"""Bytes of a bundle that is read."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle holds once its signature has been verified."""

    texts: tuple[str, ...]
    provenance: Mapping[str, Any]
    key_id: str

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue; raises InputError."""
        return parse_catalogue(*self.texts)


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name that a public key goes by: the first half of its SHA-256, hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]


def read_private_key(pem: bytes) -> Ed25519PrivateKey:
    """Return the key that signs; raises InputError (KEY_INVALID)."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_key(str(error)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _bad_key("it is of another kind")
    return key


def read_public_key(pem: bytes) -> Ed25519PublicKey:
    """Return a key that verifies; raises InputError (KEY_INVALID)."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _bad_key(str(error)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise _bad_key("it is of another kind")
    return key


def make_bundle(texts: Iterable[str], provenance: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Return a signed bundle; raises InputError when the texts are no catalogue."""
    texts = list(texts)
    parse_catalogue(*texts)
    content = json.dumps({"texts": texts, "provenance": dict(provenance)}, sort_keys=True)
    signature = base64.b64encode(key.sign(content.encode())).decode("ascii")
    document = {"format": FORMAT, "content": content, "key": key_id(key.public_key()), "signature": signature}
    return json.dumps(document, indent=1).encode() + b"\n"


def open_bundle(data: bytes, trusted: Iterable[Ed25519PublicKey]) -> Bundle:
    """Return what a bundle holds that a trusted key signed; raises InputError (BUNDLE_INVALID, BUNDLE_UNTRUSTED)."""
    content, signer, signature = _outer(data)
    key = next((one for one in trusted if key_id(one) == signer), None)
    try:
        if key is None:
            raise InvalidSignature
        key.verify(signature, content.encode())
    except InvalidSignature:
        raise InputError(
            "BUNDLE_UNTRUSTED",
            "The bundle is not signed by a trusted key.",
            cause=f"it names the key {signer[:64]!a}" if key is None else "the signature does not fit the content",
            remedy="Compare the key's id with its publisher's, and add the key to catalogue.trusted_keys.",
        ) from None
    return _inner(content, signer)


def _outer(data: bytes) -> tuple[str, str, bytes]:
    if len(data) > LARGEST_BUNDLE:
        raise _invalid(f"it is larger than {LARGEST_BUNDLE} bytes")
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError("it has another format")
        content, signer, signature = document["content"], document["key"], document["signature"]
        if not all(isinstance(one, str) for one in (content, signer, signature)):
            raise TypeError("its parts are texts")
        return content, signer, base64.b64decode(signature, validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise _invalid(str(error)) from None


def _inner(content: str, signer: str) -> Bundle:
    try:
        document = json.loads(content)
        texts, provenance = document["texts"], document["provenance"]
        if not isinstance(provenance, dict) or not all(isinstance(text, str) for text in texts):
            raise TypeError("its parts have other types")
        bundle = Bundle(tuple(texts), provenance, signer)
        _ = bundle.catalogue
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid(str(error)) from None
    return bundle


def _invalid(cause: str) -> InputError:
    return InputError("BUNDLE_INVALID", "This is no bundle of a catalogue.", cause=cause)


def _bad_key(cause: str) -> InputError:
    return InputError(
        "KEY_INVALID",
        "This is no Ed25519 key in PEM.",
        cause=cause,
        remedy="Make one with: openssl genpkey -algorithm ed25519; its public half with: openssl pkey -pubout.",
    )
