"""A server's certificate from files of the admin's: a new one is taken while the server runs.

ACME clients replace such files every few weeks. Open connections keep the certificate that they began with.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog
from cryptography import x509

from arcgate.core.certificate_orders import Held
from arcgate.core.errors import ArcgateError
from arcgate.net.files import signature_of

LOOK_INTERVAL = 5.0
"""Seconds between looks at the files."""

_log = structlog.get_logger(__name__)


class CertificateFiles:
    """Chain and key in PEM; `key` may be the same file as `chain`."""

    def __init__(self, chain: Path, key: Path) -> None:
        self.chain = chain
        self.key = key
        self._seen = self._signatures()

    async def follow(self, take: Callable[[], None], interval: float = LOOK_INTERVAL) -> None:
        """Call `take` for each change to a pair that is usable, for ever; what is not is logged, and left out."""
        while True:
            await asyncio.sleep(interval)
            now = self._signatures()
            if now == self._seen:
                continue
            self._seen = now
            try:
                self._check()
                take()
            except (ArcgateError, OSError) as error:  # ssl.SSLError is an OSError
                _log.error("a new server certificate is of no use, the old one stays", cause=str(error))
            else:
                _log.info("a new server certificate is in use", file=str(self.chain))

    def load_into(self, context: ssl.SSLContext) -> None:
        """Give a running context the certificate of the files; raises OSError."""
        context.load_cert_chain(self.chain, self.key, password="")

    def _check(self) -> None:
        # A pair that doesn't match would leave a live context with half of it.
        self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))

    def _signatures(self) -> tuple[object, ...]:
        return signature_of(self.chain), signature_of(self.key)


def read_held(file: Path) -> Held | None:
    """Return what the first certificate in a file is good for, None when there is none that can be used."""
    try:
        leaf = x509.load_pem_x509_certificate(file.read_bytes())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    return Held(frozenset(names.get_values_for_type(x509.DNSName)), leaf.not_valid_before_utc, leaf.not_valid_after_utc)
