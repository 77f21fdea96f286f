"""TLS contexts of the agent, kept: reading the system's authorities takes 10 ms, a connection shouldn't."""

import os
import ssl
from collections.abc import Callable
from pathlib import Path

from arcgate.net.files import signature_of
from arcgate.net.tls import client_context

KEPT = 8
"""Contexts that are kept; a renewed certificate makes a new one, and the oldest goes."""


class Trust:
    """Makes contexts that verify servers, with the machine's certificate where it is asked for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], ssl.SSLContext] = {}

    def servers(self, ca_pem: str) -> ssl.SSLContext:
        """Return a context for any server; raises StateError (TLS_FILE_UNUSABLE)."""
        return self._get((ca_pem,), lambda: client_context(ca_pem=ca_pem))

    def gateways(self, ca_pem: str, certificate: tuple[Path, Path] | None) -> ssl.SSLContext:
        """Return a context for gateways: TLS 1.3, with the certificate (chain, key) if there is one.

        Raises StateError (TLS_FILE_UNUSABLE) while the files are damaged or don't belong together.
        """
        present = certificate if certificate is not None and all(map(os.path.exists, certificate)) else None
        key = (ca_pem, "gateway", *((file, signature_of(file)) for file in present or ()))
        minimum = ssl.TLSVersion.TLSv1_3
        return self._get(key, lambda: client_context(ca_pem=ca_pem, certificate=present, minimum=minimum))

    def inspected(self, inspection_ca: str) -> ssl.SSLContext:
        """Return a context that trusts nobody but who inspects TLS; raises StateError (TLS_FILE_UNUSABLE)."""
        return self._get((inspection_ca, "inspected"), lambda: client_context(ca_pem=inspection_ca, with_system=False))

    def _get(self, key: tuple[object, ...], make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        if (known := self._kept.get(key)) is not None:
            return known
        context = make()
        while len(self._kept) >= KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = context
        return context
