"""The running authorities: kept, sealed, in the store's keys table; made at the first start."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from sqlalchemy.exc import IntegrityError

from arcgate.control.authority.certificates import (
    Issuer,
    MachineIdentity,
    PublicKey,
    issue_machine,
    issue_server,
    make_root,
)
from arcgate.control.clock import Clock
from arcgate.control.store import Store
from arcgate.control.store.models import KeyRow
from arcgate.control.store.sealing import Sealer
from arcgate.core.errors import StateError

SERVER_AUTHORITY = "server-authority"
MACHINE_AUTHORITY = "machine-authority"
SERVER_LIFETIME = timedelta(days=90)
"""Life of server certificates; they are renewed when a third of it is left."""


_COMMON_NAMES = {SERVER_AUTHORITY: "Arcgate server authority", MACHINE_AUTHORITY: "Arcgate machine authority"}


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates of servers and machines."""

    servers: Issuer
    machines: Issuer
    clock: Clock
    machine_lifetime: timedelta

    @property
    def ca_pem(self) -> str:
        """What clients must trust to reach the control plane and gateways."""
        return pem_of(self.servers.certificate)

    @property
    def machine_authorities_pem(self) -> str:
        """What gateways must trust to recognise machines."""
        return pem_of(self.machines.certificate)

    def sign_server(self, key: PublicKey, names: Iterable[str]) -> x509.Certificate:
        """Return a server certificate for DNS names (`*.` allowed) and IP addresses."""
        return issue_server(self.servers, key, names, self.clock(), SERVER_LIFETIME)

    def sign_machine(self, key: PublicKey, machine: MachineIdentity) -> x509.Certificate:
        """Return a machine's client certificate."""
        return issue_machine(self.machines, key, machine, self.clock(), self.machine_lifetime)


def pem_of(certificate: x509.Certificate) -> str:
    """Return the certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


async def load_authority(store: Store, sealer: Sealer, clock: Clock, certificate_days: int) -> Authority:
    """Return the authorities of this control plane; the first call ever makes them.

    Raises StateError when the stored keys can't be opened or belong to other certificates.
    """
    servers = await _load_issuer(store, sealer, clock, SERVER_AUTHORITY)
    machines = await _load_issuer(store, sealer, clock, MACHINE_AUTHORITY)
    return Authority(servers, machines, clock, timedelta(days=certificate_days))


async def _load_issuer(store: Store, sealer: Sealer, clock: Clock, purpose: str) -> Issuer:
    found = await _read_issuer(store, sealer, purpose)
    if found is not None:
        return found
    try:
        fresh = make_root(_COMMON_NAMES[purpose], clock())
        async with store.write() as transaction:
            transaction.session.add(_row(fresh, sealer, purpose, clock()))
    except IntegrityError:
        pass  # another node of the control plane was first; its authority counts
    made = await _read_issuer(store, sealer, purpose)
    assert made is not None
    return made


async def _read_issuer(store: Store, sealer: Sealer, purpose: str) -> Issuer | None:
    async with store.read() as session:
        row = await session.get(KeyRow, purpose)
    if row is None:
        return None
    secret = sealer.open(row.private_sealed, f"key:{row.id}")
    key = load_pem_private_key(secret, password=None)
    certificate = x509.load_pem_x509_certificate(row.certificate.encode("ascii"))
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise StateError(
            "AUTHORITY_DAMAGED",
            f"The key and the certificate of the {purpose} don't belong together.",
            remedy="Restore the database from a backup.",
        )
    return Issuer(certificate, key)


def _row(issuer: Issuer, sealer: Sealer, purpose: str, now: datetime) -> KeyRow:
    secret = issuer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return KeyRow(
        id=purpose,
        purpose=purpose,
        private_sealed=sealer.seal(secret, f"key:{purpose}"),
        public=public.decode("ascii"),
        certificate=pem_of(issuer.certificate),
        created_at=now,
        not_after=issuer.certificate.not_valid_after_utc,
    )
