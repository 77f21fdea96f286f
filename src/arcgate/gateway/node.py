"""The node's side of the control plane: it watches for revisions, sends audit records, and renews its certificate.

Everything that it learns is kept on disk, so that a node works, and restarts, without the control plane.
"""

import asyncio
import json
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arcgate.core.errors import ArcgateError, Hop, HopError, InputError
from arcgate.core.snapshot import Snapshot, parse_document
from arcgate.gateway.spool import Spool
from arcgate.net.backoff import Backoff
from arcgate.net.files import read_json, write_file, write_json
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.tls import server_context

WAIT = 25
"""Seconds that the control plane holds a question for news."""

BATCH = 500
"""Audit records in one request."""

GATHERING = 0.2
"""Seconds that records may gather before they are sent: a request for each one would cost more than its tunnel."""

_log = structlog.get_logger(__name__)


class ControlPlane:
    """Requests of a node to the node API; raises HopError for every answer that isn't a success."""

    def __init__(self, client: HttpClient, url: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._headers = {"Authorization": f"Bearer {secret}"}

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._client.close()

    async def send_records(self, lines: list[bytes]) -> None:
        """Send audit records, each a JSON object."""
        await self.ask("POST", "/node/v1/audit", b'{"records":[' + b",".join(lines) + b"]}")

    async def ask(self, method: str, path: str, document: Any = None, *, timeout: float = 30) -> Answer:
        """Return the answer to one request of the node API; a document that is bytes already is JSON as it is."""
        body = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
        headers = {**self._headers, "Accept": "application/json", "Content-Type": "application/json"}
        answer = await self._client.request(method, self._url + path, headers=headers, body=body, timeout=timeout)
        if not answer.is_success:
            raise HopError(
                Hop.TARGET,
                "CONTROL_PLANE_REFUSED",
                f"The control plane answered {answer.status} to {method} {path}.",
                cause=answer.body[:200].decode("utf-8", "replace"),
                remedy="Compare the node secret of this host with the control plane's." if answer.status == 401 else "",
            )
        return answer

    async def get(self, path: str, headers: dict[str, str]) -> Answer:
        """Return whatever the control plane answers to GET of a public path."""
        return await self._client.request("GET", self._url + path, headers=headers, timeout=60)


class SnapshotWatch:
    """Follows the control plane's revisions. `publish` is called with every new snapshot."""

    def __init__(self, control: ControlPlane, file: Path, publish: Callable[[Snapshot], None]) -> None:
        self._control = control
        self._file = file
        self._publish = publish
        self.snapshot = Snapshot()

    def load(self) -> None:
        """Begin with the last good snapshot on disk; a damaged one is logged and passed over."""
        try:
            document = read_json(self._file)
            if document is not None:
                self.snapshot = Snapshot().apply(*parse_document(document))
                self._publish(self.snapshot)
        except ArcgateError as error:
            _log.error("the kept snapshot is of no use", file=str(self._file), cause=error.one_line())

    async def follow(self) -> None:
        """Ask for newer revisions for as long as it runs."""
        backoff = Backoff(random.random, first=0.2, longest=10)
        while True:
            try:
                await self._ask_once()
                backoff.reset()
            except (HopError, InputError) as error:
                _log.warning("no news from the control plane", cause=error.one_line())
                await asyncio.sleep(backoff.next())

    async def _ask_once(self) -> None:
        path = f"/node/v1/snapshot?after={self.snapshot.revision}&wait={WAIT}"
        answer = await self._control.ask("GET", path, timeout=WAIT + 15)
        if answer.status == 204:
            return
        document = answer.json()
        entries, revision = parse_document(document)
        base = Snapshot() if isinstance(document, dict) and document.get("reset") else self.snapshot
        self.snapshot = base.apply(entries, revision)
        self._publish(self.snapshot)
        _log.info("policy revision in force", revision=self.snapshot.revision)
        await asyncio.to_thread(write_json, self._file, self.snapshot.to_json())


async def send_audit(control: ControlPlane, spool: Spool) -> None:
    """Send audit records to the control plane, in order, for as long as it runs."""
    backoff = Backoff(random.random, first=0.2, longest=30)
    while True:
        spool.news.clear()
        lines, position = spool.unsent(BATCH)
        if not lines:
            await spool.news.wait()
            await asyncio.sleep(GATHERING)
            continue
        try:
            await control.send_records(lines)
            spool.forget(position)
            backoff.reset()
        except HopError as error:
            _log.warning("audit records wait in the spool", cause=error.one_line())
            await asyncio.sleep(backoff.next())


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
    ) -> None:
        self._control = control
        self._files = files
        self._name = name
        self._given = given
        self._minimum = minimum
        self._context: ssl.SSLContext | None = None
        self.is_ready = asyncio.Event()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for new connections; only to be asked for once `is_ready`."""
        assert self._context is not None
        return self._context

    async def keep(self) -> None:
        """Load what is on disk, then renew and reload for as long as it runs."""
        backoff = Backoff(random.random, first=0.2, longest=60)
        self._load_if_possible()
        while True:
            try:
                await self._refresh()
                backoff.reset()
                delay = 3600.0
            except ArcgateError as error:
                _log.warning("TLS files are not fresh", cause=error.one_line())
                delay = backoff.next()
            await asyncio.sleep(delay)

    async def _refresh(self) -> None:
        answer = (await self._control.ask("GET", "/node/v1/authority")).json()
        if not isinstance(answer, dict) or not isinstance(answer.get("machineAuthorities"), str):
            raise InputError("AUTHORITY_INVALID", "The control plane's answer holds no machine authorities.")
        write_file(self._files.authorities, answer["machineAuthorities"])
        if self._given is None and self._is_due():
            await self._obtain()
        self._load()

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
        document = json.loads(answer.body)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_file(self._files.server, document["certificate"] + document["chain"] + private.decode())

    def _load_if_possible(self) -> None:
        if self._files.authorities.exists() and (self._given is not None or self._files.server.exists()):
            try:
                self._load()
            except ArcgateError as error:
                _log.error("the kept TLS files are of no use", cause=error.one_line())

    def _load(self) -> None:
        chain, key = self._given or (self._files.server, self._files.server)
        authorities = self._files.authorities.read_text(encoding="ascii")
        self._context = server_context(chain, key, client_authorities_pem=authorities, minimum=self._minimum)
        self.is_ready.set()


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)
