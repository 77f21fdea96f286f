"""The node's server certificate and the authorities of machines: kept on disk, renewed, loaded while it runs."""

import asyncio
import random
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arcgate.core.errors import ArcgateError, InputError
from arcgate.gateway.node import ControlPlane
from arcgate.gateway.signed_channels import NodeFacts
from arcgate.net.backoff import Backoff
from arcgate.net.certificate_files import CertificateFiles
from arcgate.net.files import write_file
from arcgate.net.http_client import Answer
from arcgate.net.tasks import cancel, repeat, spawn
from arcgate.net.ticket_keys import share_ticket_keys
from arcgate.net.tls import server_context

LOOK_INTERVAL = 3600.0
"""Seconds between looks at the certificate's age and the authorities."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a worker keeps what its TLS needs: key and chain in one file (never a mixed pair), and authorities."""

    folder: Path

    @property
    def server(self) -> Path:
        """Key and certificate chain of the node."""
        return self.folder / "server.pem"

    @property
    def authorities(self) -> Path:
        """Authorities of machine certificates."""
        return self.folder / "machine-authorities.pem"


class NodeTls:
    """The node's TLS context: from given files or issued by the control plane, renewed at two thirds of its life."""

    def __init__(
        self,
        control: ControlPlane,
        files: TlsFiles,
        name: str,
        given: tuple[Path, Path] | None,
        minimum: ssl.TLSVersion,
        ticket_secret: bytes = b"",
        *,
        is_given_later: bool = False,
    ) -> None:
        """Take `ticket_secret` to share session tickets with all that have the same one; empty shares none.

        With `is_given_later` the control plane issues a certificate for the time until the `given` files are there.
        """
        self._control = control
        self._files = files
        self._name = name
        self._files_given = given
        self._is_given_later = is_given_later
        self._minimum = minimum
        self._ticket_secret = ticket_secret
        self._context: ssl.SSLContext | None = None
        self._facts: NodeFacts | None = None
        self.is_ready = asyncio.Event()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for new connections; only to be asked for once `is_ready`."""
        assert self._context is not None
        return self._context

    @property
    def _given(self) -> tuple[Path, Path] | None:
        given = self._files_given
        is_missing = self._is_given_later and given is not None and not given[0].exists()
        return None if is_missing else given

    @property
    def facts(self) -> NodeFacts:
        """What signed channels have to know of it; only to be asked for once `is_ready`."""
        assert self._facts is not None
        return self._facts

    async def keep(self) -> None:
        """Load what is on disk, then renew and reload for as long as it runs."""
        self._load_if_possible()
        following = spawn("follow the certificate's files", self._follow())
        try:
            await repeat("keep the TLS files fresh", self._refresh, Backoff(random.random, 0.2, 60))
        finally:
            await cancel(following)

    async def _follow(self) -> None:
        if self._files_given is not None:
            await CertificateFiles(*self._files_given).follow(self._load)

    async def _refresh(self) -> float:
        answer = await self._control.ask("GET", "/node/v1/authority")
        write_file(self._files.authorities, _text(answer, "machineAuthorities"))
        if self._given is None and self._is_due():
            await self._obtain()
        self._load()
        return LOOK_INTERVAL

    def _is_due(self) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(self._files.server.read_bytes())
        except (OSError, ValueError):
            return True
        if self._name not in _dns_names(certificate):
            return True
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return datetime.now(UTC) > certificate.not_valid_after_utc - max(life / 3, timedelta(0))

    async def _obtain(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        answer = await self._control.ask(
            "POST", "/node/v1/certificate", {"csr": csr.public_bytes(serialization.Encoding.PEM).decode()}
        )
        chain = _text(answer, "certificate") + _text(answer, "chain")
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_file(self._files.server, chain + private.decode())

    def _load_if_possible(self) -> None:
        if self._files.authorities.exists() and (self._given is not None or self._files.server.exists()):
            try:
                self._load()
            except ArcgateError as error:
                _log.error("the kept TLS files are of no use", cause=error.one_line())

    def _load(self) -> None:
        chain, key = self._given or (self._files.server, self._files.server)
        authorities = self._files.authorities.read_text(encoding="ascii")
        context = server_context(chain, key, client_authorities_pem=authorities, minimum=self._minimum)
        if self._ticket_secret and not share_ticket_keys(context, self._ticket_secret, time()):
            _log.info("session tickets are each worker's own: this Python does not let us share them")
        self._context = context
        self._facts = facts_of(chain, authorities)
        self.is_ready.set()


def facts_of(chain: Path, authorities: str) -> NodeFacts:
    """Return the facts of a server whose chain is in a file; TLS has read both already."""
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    known = x509.load_pem_x509_certificates(authorities.encode("ascii"))
    return NodeFacts(leaf.fingerprint(hashes.SHA256()).hex(), known)


def _text(answer: Answer, key: str) -> str:
    document = answer.json()
    text = document.get(key) if isinstance(document, dict) else None
    if not isinstance(text, str) or not text:
        raise InputError("NODE_ANSWER_INVALID", f"The control plane's answer holds no {key}.")
    return text


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)
