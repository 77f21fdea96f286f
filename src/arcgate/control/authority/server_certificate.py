"""The control plane's own TLS certificate: kept in a file, and renewed while the server runs.

`keep_renewed` runs as a task of the service. It looks each hour, and gives a running SSLContext the new
certificate: handshakes from then on use it, open connections keep theirs.
"""

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from arcgate.control.authority.authority import Authority, pem_of
from arcgate.control.authority.certificates import is_due_for_renewal
from arcgate.core.configuration import Configuration
from arcgate.core.errors import ArcgateError, StateError
from arcgate.net.files import write_file
from arcgate.net.tls import join_pem

LOOK_INTERVAL = 3600.0
"""Seconds between two looks at the certificate's age."""

_log = structlog.get_logger(__name__)


def server_names(configuration: Configuration, addresses: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names that the control plane's certificate holds: its own, the gateways', and `addresses`."""
    domain = configuration.cloud.domain
    names = (*configuration.control_names, f"*.his.{domain}", f"*.gw.{domain}", *addresses)
    return tuple(dict.fromkeys(names))


def server_certificate(authority: Authority, names: Iterable[str]) -> tuple[str, str]:
    """Return a new certificate chain and its private key, both in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = authority.sign_server(key.public_key(), names)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem_of(certificate), secret.decode("ascii")


def server_certificate_file(authority: Authority, names: Iterable[str], path: Path) -> Path:
    """Return `path` with chain and key in it, good for exactly these names and for a third of its life at least.

    One file (0600) holds both, so that they always belong together.
    """
    wanted = tuple(names)
    if not _is_good(path, authority, wanted):
        chain, key = server_certificate(authority, wanted)
        write_file(path, chain + key)
    return path


def write_ca_file(authority: Authority, state_dir: Path, more: Path | None = None) -> Path:
    """Write `ca.pem`, which clients trust, with what a file of `more` authorities holds; return its path.

    Raises StateError (TLS_FILE_UNUSABLE).
    """
    path = state_dir / "ca.pem"
    write_file(path, join_pem([authority.ca_pem, read_pem(more) if more is not None else ""]), 0o644)
    return path


def read_pem(path: Path) -> str:
    """Return a file of certificates; raises StateError (TLS_FILE_UNUSABLE)."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise StateError("TLS_FILE_UNUSABLE", f"{path} can't be read.", cause=str(error)) from None


async def keep_renewed(
    authority: Authority, names: Iterable[str], path: Path, context: ssl.SSLContext, interval: float = LOOK_INTERVAL
) -> None:
    """Renew the file and load it into the context, for ever; a failure is logged and tried again later."""
    wanted = tuple(names)
    while True:
        await asyncio.sleep(interval)
        try:
            await asyncio.to_thread(renew, authority, wanted, path, context)
        except (ArcgateError, OSError, ssl.SSLError) as error:
            _log.error("server certificate not renewed", cause=str(error))


def renew(authority: Authority, names: Iterable[str], path: Path, context: ssl.SSLContext) -> None:
    """Renew the file if that is due, and have the context use what is in it."""
    context.load_cert_chain(server_certificate_file(authority, names, path))


def _is_good(path: Path, authority: Authority, names: tuple[str, ...]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(authority.servers.certificate)
    except (OSError, ValueError, TypeError, x509.InvalidVersion, InvalidSignature):
        return False
    return set(_names_of(certificate)) == set(names) and not is_due_for_renewal(certificate, authority.clock())


def _names_of(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]
