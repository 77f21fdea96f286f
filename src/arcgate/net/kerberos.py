"""Tokens of Kerberos, by the system's own GSS-API library (RFC 2744), which knows its ticket caches and realms.

The library comes with every system that uses Kerberos; the bindings on the package index would have to be compiled on
each machine. Only the few functions that a client's first token needs are called. They may wait for the network.
"""

import ctypes
import ctypes.util
import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from arcgate.net.files import signature_of
from arcgate.wire.proxy_authentication import MechanismError

LIBRARIES = ("libgssapi_krb5.so.2", "libgssapi_krb5.dylib")

_FAILURES = 0xFFFF0000
"""Bits of a status that tell of errors (RFC 2744 section 3.9.1)."""
_INITIATE = 1
_JUDGED = ("Preauthentication failed", "Decrypt integrity check failed", "Password incorrect", "have been revoked")
"""Words for a wrong password or key, or a locked account. SPNEGO hides the codes behind numbers of its own."""
_STATUS_OF_CALL, _STATUS_OF_MECHANISM = 1, 2

KINIT = (
    "Get a ticket for the user who runs the agent (kinit), or give the agent a keytab: "
    "'azcmagent config set proxy.keytab FILE'."
)


class _Buffer(ctypes.Structure):
    _fields_ = (("length", ctypes.c_size_t), ("value", ctypes.c_void_p))


class _Oid(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint32), ("elements", ctypes.c_char_p))


class _OidSet(ctypes.Structure):
    _fields_ = (("count", ctypes.c_size_t), ("elements", ctypes.POINTER(_Oid)))


class _StoreElement(ctypes.Structure):
    _fields_ = (("key", ctypes.c_char_p), ("value", ctypes.c_char_p))


class _Store(ctypes.Structure):
    _fields_ = (("count", ctypes.c_uint32), ("elements", ctypes.POINTER(_StoreElement)))


def _oid(encoded: bytes) -> _Oid:
    return _Oid(len(encoded), encoded)


_KERBEROS = _oid(bytes.fromhex("2a864886f712010202"))
_SPNEGO = _oid(bytes.fromhex("2b0601050502"))
_SERVICE_NAME = _oid(bytes.fromhex("2a864886f71201020104"))
_USER_NAME = _oid(bytes.fromhex("2a864886f71201020101"))


@cache
def _library() -> Any:
    """Return the library, None where there is none."""
    for name in (*LIBRARIES, ctypes.util.find_library("gssapi_krb5") or ""):
        if name:
            try:
                library = ctypes.CDLL(name)
            except OSError:
                continue
            if hasattr(library, "gss_acquire_cred_from"):
                return library
    return None


class Negotiation:
    """One authentication to the HTTP service of `host`, by ticket, keytab, or user and password (USER@REALM)."""

    is_complete = True
    """The first token says it all: nobody asks the proxy for a proof of its own."""
    shows_password = False
    """Kerberos' server has judged it; a proxy judges the ticket."""

    def __init__(self, host: str, *, keytab: str = "", user: str = "", password: str = "") -> None:
        self._host = host
        self._keytab = keytab
        self._user = user
        self._password = password

    def step(self, challenge: bytes) -> bytes:
        """Return the token; may wait for Kerberos' servers. Raises MechanismError."""
        if challenge:
            raise MechanismError("the proxy wants to go on with a ticket that it has seen already")
        library = _library()
        if library is None:
            raise MechanismError(
                "this system has no Kerberos library (libgssapi_krb5)",
                "Install it (Debian: libgssapi-krb5-2; Red Hat: krb5-libs), with its krb5.conf.",
            )
        calls = _Calls(library)
        try:
            return self._token(calls)
        except MechanismError as error:
            error.is_refusal = bool(self._keytab or self._password) and any(one in str(error) for one in _JUDGED)
            raise
        finally:
            calls.release()

    def _token(self, calls: "_Calls") -> bytes:
        if self._keytab:
            if not os.access(self._keytab, os.R_OK):
                remedy = "Let the agent's services read it, or correct the setting proxy.keytab."
                raise MechanismError(f"the keytab {self._keytab} can't be read", remedy)
            credential = calls.credential_of_keytab(self._keytab)
        elif self._password:
            credential = calls.credential_of_password(self._user, self._password)
        else:
            calls.require_ticket()
            credential = ctypes.c_void_p()  # the ticket cache's
        return calls.first_token(credential, f"HTTP@{self._host}")


class _Calls:
    """Calls of the library; remembers what must be given back to it."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._minor = ctypes.c_uint32()
        self._owned: list[tuple[str, ctypes.c_void_p]] = []

    def release(self) -> None:
        """Give everything back."""
        for function, handle in reversed(self._owned):
            if handle.value:
                more = (None,) if function == "gss_delete_sec_context" else ()
                getattr(self._library, function)(ctypes.byref(self._minor), ctypes.byref(handle), *more)

    def credential_of_keytab(self, keytab: str) -> ctypes.c_void_p:
        """Return a credential of the keytab's first principal; its tickets are kept in memory alone."""
        self._from_keytab(keytab, _KERBEROS)  # SPNEGO doesn't tell what is wrong with a keytab
        return self._from_keytab(keytab, _SPNEGO)

    def _from_keytab(self, keytab: str, mechanism: _Oid) -> ctypes.c_void_p:
        elements = (_StoreElement * 2)(
            _StoreElement(b"client_keytab", f"FILE:{keytab}".encode()),
            _StoreElement(b"ccache", f"MEMORY:{_name_of(keytab)}".encode()),
        )
        store = _Store(len(elements), elements)
        credential = self._handle("gss_release_cred")
        wanted = ctypes.byref(_OidSet(1, ctypes.pointer(mechanism)))
        # No name, any lifetime, and nobody asks what it became.
        what = (None, ctypes.c_uint32(0xFFFFFFFF), wanted, _INITIATE, ctypes.byref(store))
        self._call("gss_acquire_cred_from", *what, ctypes.byref(credential), None, None)
        return credential

    def require_ticket(self) -> None:
        """Look for a ticket: what is missing is only told when Kerberos is asked by itself."""
        credential = self._handle("gss_release_cred")
        wanted = ctypes.byref(_OidSet(1, ctypes.pointer(_KERBEROS)))
        what = (None, ctypes.c_uint32(0xFFFFFFFF), wanted, _INITIATE)
        self._call("gss_acquire_cred", *what, ctypes.byref(credential), None, None)

    def credential_of_password(self, user: str, password: str) -> ctypes.c_void_p:
        """Return a credential for a principal's password."""
        name = self._name(user, _USER_NAME)
        given = _text(password)
        credential = self._handle("gss_release_cred")
        wanted = ctypes.byref(_OidSet(1, ctypes.pointer(_SPNEGO)))
        what = (name, ctypes.byref(given), ctypes.c_uint32(0xFFFFFFFF), wanted, _INITIATE)
        self._call("gss_acquire_cred_with_password", *what, ctypes.byref(credential), None, None)
        return credential

    def first_token(self, credential: ctypes.c_void_p, service: str) -> bytes:
        """Return the first token for a service."""
        name = self._name(service, _SERVICE_NAME)
        context = self._handle("gss_delete_sec_context")
        token = _Buffer()
        flags, lifetime = ctypes.c_uint32(0), ctypes.c_uint32(0)
        whom = (credential, ctypes.byref(context), name, ctypes.byref(_SPNEGO), flags, lifetime)
        try:
            self._call("gss_init_sec_context", *whom, None, None, None, ctypes.byref(token), None, None)
            return ctypes.string_at(token.value, token.length) if token.value else b""
        finally:
            self._library.gss_release_buffer(ctypes.byref(self._minor), ctypes.byref(token))

    def _name(self, text: str, kind: _Oid) -> ctypes.c_void_p:
        name = self._handle("gss_release_name")
        self._call("gss_import_name", ctypes.byref(_text(text)), ctypes.byref(kind), ctypes.byref(name))
        return name

    def _handle(self, release: str) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        self._owned.append((release, handle))
        return handle

    def _call(self, function: str, *arguments: object) -> None:
        call = getattr(self._library, function)
        call.restype = ctypes.c_uint32
        status = call(ctypes.byref(self._minor), *arguments)
        if status & _FAILURES:
            raise MechanismError(self._explanation(status, self._minor.value), KINIT)

    def _explanation(self, status: int, minor: int) -> str:
        texts = [self._message(minor, _STATUS_OF_MECHANISM)] if minor else []
        return next((text for text in texts if text), "") or self._message(status, _STATUS_OF_CALL)

    def _message(self, value: int, kind: int) -> str:
        text, more = _Buffer(), ctypes.c_uint32()
        unused = ctypes.c_uint32()
        what = (ctypes.c_uint32(value), kind, None, ctypes.byref(more), ctypes.byref(text))
        if self._library.gss_display_status(ctypes.byref(unused), *what) or not text.value:
            return ""
        try:
            return ctypes.string_at(text.value, text.length).decode("utf-8", "replace").rstrip("\0")
        finally:
            self._library.gss_release_buffer(ctypes.byref(unused), ctypes.byref(text))


def _name_of(keytab: str) -> str:
    """Return a name for the tickets of a keytab, which lasts as long as the file stays the same."""
    return hashlib.sha256(repr((keytab, signature_of(Path(keytab)))).encode()).hexdigest()[:32]


def _text(text: str) -> _Buffer:
    encoded = ctypes.create_string_buffer(text.encode())
    buffer = _Buffer(len(encoded) - 1, ctypes.addressof(encoded))
    buffer.kept = encoded  # an address alone keeps nothing alive
    return buffer
