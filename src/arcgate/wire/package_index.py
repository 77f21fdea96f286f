"""The signatures of the list of the agent's packages, detached: they stand beside `index.json` as `index.json.sig`.

A line each: the signer's Ed25519 public key, a space, and the signature over the context line and the list's bytes,
both in base64. Several may sign, so that a new key comes into use before the old one goes.
"""

import base64
import binascii
import re
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from arcgate.core.errors import InputError
from arcgate.wire.extension_signature import PublicKeys, fits, key_text

CONTEXT = b"arcgate-package-index 1\n"
"""What a signature of ours for another purpose never begins with."""
MOST_SIGNATURES = 16
"""Lines that are looked at."""

_LINE = re.compile(rb"([A-Za-z0-9+/]{43}=) ([A-Za-z0-9+/]{86}==)\Z")


def sign_index(index: bytes, keys: Iterable[Ed25519PrivateKey]) -> str:
    """Return the lines of these keys."""
    lines = ((key_text(one.public_key()), base64.b64encode(one.sign(CONTEXT + index)).decode("ascii")) for one in keys)
    return "".join(f"{key} {signature}\n" for key, signature in lines)


def require_signed(index: bytes, signatures: bytes, keys: PublicKeys) -> None:
    """Raise InputError (PACKAGES_UNTRUSTED) unless one of the keys signed the list."""
    trusted = {key_text(one): one for one in keys}
    signers = []
    for line in signatures.split(b"\n")[:MOST_SIGNATURES]:
        if (found := _LINE.match(line)) is None:
            continue
        signers.append(found[1].decode("ascii"))
        key = trusted.get(signers[-1])
        if key is not None and fits(key, _decode(found[2]), CONTEXT + index):
            return
    if not signers:
        raise _untrusted("it is not signed")
    raise _untrusted(
        "the signature does not fit the list"
        if trusted.keys() & set(signers)
        else f"it is signed by {', '.join(signers)}, and none of them is trusted here"
    )


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _untrusted(cause: str) -> InputError:
    return InputError(
        "PACKAGES_UNTRUSTED",
        "The cloud's list of packages is not trusted.",
        cause=cause,
        remedy="Ask the cloud's operator who changed it; after a change of keys, run the cloud's installer again.",
    )
