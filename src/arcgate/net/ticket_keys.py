"""Keys of TLS session tickets, shared by processes: a client resumes its session with whichever it meets.

OpenSSL makes keys of its own for each context, and Python's `ssl` has no word for them. This module hands ours to
the OpenSSL that `ssl` itself is linked to (docs/adr/008). Whoever has the keys can forge a session, of any client
certificate: they are kept as the server's private key is.
"""

import ctypes
import ssl
import sys
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SECRET_SIZE: Final = 32
"""Bytes of the secret that all keys are made of."""

PERIOD: Final = 86_400
"""Seconds after which the keys change; sessions of the period before are not resumed then."""

_SET_TICKET_KEYS: Final = 59
"""SSL_CTRL_SET_TLSEXT_TICKET_KEYS of OpenSSL's ssl.h."""

_KEYS_SIZE: Final = 80
"""Bytes of a name, a key for HMAC and one for AES, as OpenSSL takes them."""

_KNOWN: Final = ((3, 11), (3, 13))
"""Versions of CPython whose SSLContext is known to begin with OpenSSL's."""


def share_ticket_keys(context: ssl.SSLContext, secret: bytes, now: float) -> bool:
    """Have a server's context use the keys that belong to the secret and the day; say whether that is possible here.

    `now` is in seconds since 1970. Where it isn't possible, sessions are resumed by the context that began them.
    """
    if sys.implementation.name != "cpython" or not _KNOWN[0] <= sys.version_info[:2] <= _KNOWN[1]:
        return False
    control = _openssl_control()
    if control is None:
        return False
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    # Asked without keys, it tells their size.
    if not pointer.value or control(pointer, _SET_TICKET_KEYS, 0, None) != _KEYS_SIZE:
        return False
    keys = HKDFExpand(hashes.SHA512(), _KEYS_SIZE, b"session tickets %d" % (now // PERIOD)).derive(secret)
    return bool(control(pointer, _SET_TICKET_KEYS, _KEYS_SIZE, keys) == 1)


def _openssl_control() -> "ctypes._NamedFuncPointer | None":
    """Return SSL_CTX_ctrl of the OpenSSL that `ssl` uses, None when it can't be reached."""
    import _ssl

    try:
        control = ctypes.CDLL(_ssl.__file__).SSL_CTX_ctrl
    except (AttributeError, OSError):  # linked into the interpreter, its names hidden
        return None
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    control.restype = ctypes.c_long
    return control
