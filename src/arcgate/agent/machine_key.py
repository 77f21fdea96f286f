"""The machine's key and certificate, and the assertions that prove to the agent service who asks.

The key is made here and never leaves the machine; the certificate comes from the control plane.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from arcgate.agent.errors import AzcmError
from arcgate.agent.paths import PUBLIC, SHARED, AgentPaths
from arcgate.agent.platform import current
from arcgate.net.files import write_file
from arcgate.wire.sealed_settings import open_sealed

AUDIENCE = "arcgate-his"
KEY_SIZE = 2048
"""Bits."""
ASSERTION_LIFE = 300
"""Seconds, the most that the agent service takes."""


class KeyKind(StrEnum):
    """Kinds of machine keys."""

    RSA = "rsa"
    """2048 bits, as the original's."""
    EC = "ec"
    """P-256: signing, once in each handshake, takes a small part of RSA's time."""


class MachineKey:
    """The key of this machine."""

    def __init__(self, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._signer: RSAKey | ECKey | None = None

    @classmethod
    def generate(cls, kind: KeyKind = KeyKind.RSA) -> "MachineKey":
        """Return a new key; an RSA key takes some 50 ms."""
        if kind is KeyKind.EC:
            return cls(ec.generate_private_key(ec.SECP256R1()))
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=KEY_SIZE))

    @classmethod
    def load(cls, path: Path) -> "MachineKey":
        """Return the stored key; raises AzcmError 104."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            # Reasons of the operating system only: a parser's might quote the file.
            raise _unreadable(path, error.strerror or "" if isinstance(error, OSError) else "") from None
        if isinstance(key, rsa.RSAPrivateKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key)
        raise _unreadable(path, "it is neither an RSA key nor one of the curve P-256")

    @property
    def kind(self) -> KeyKind:
        """The kind of the key."""
        return KeyKind.RSA if isinstance(self._key, rsa.RSAPrivateKey) else KeyKind.EC

    def store(self, path: Path) -> None:
        """Write the key, readable by us and, where they have a group, the agent's services."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_file(path, pem)
        if current().has_group():
            current().share(path, SHARED)

    @property
    def client_public_key(self) -> str:
        """The public key as the machine resource holds it: base64 of DER, PKCS#1 or for EC SubjectPublicKeyInfo."""
        form = PublicFormat.PKCS1 if self.kind is KeyKind.RSA else PublicFormat.SubjectPublicKeyInfo
        der = self._key.public_key().public_bytes(Encoding.DER, form)
        return base64.b64encode(der).decode("ascii")

    def signing_request(self, machine_id: str) -> str:
        """Return a certificate signing request in PEM."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, machine_id)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self._key, hashes.SHA256())
        return request.public_bytes(Encoding.PEM).decode("ascii")

    def assertion(self, machine_id: str, now: datetime) -> str:
        """Return a fresh assertion for one request; `now` is the server's time as far as we know it."""
        if self._signer is None:
            pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self._signer = RSAKey.import_key(pem) if self.kind is KeyKind.RSA else ECKey.import_key(pem)
        issued = int(now.timestamp())
        claims = {
            "iss": machine_id,
            "sub": machine_id,
            "aud": AUDIENCE,
            "iat": issued,
            "exp": issued + ASSERTION_LIFE,
            "jti": secrets.token_urlsafe(18),
        }
        algorithm = "RS256" if self.kind is KeyKind.RSA else "ES256"
        return jwt.encode({"alg": algorithm, "kid": machine_id}, claims, self._signer, algorithms=[algorithm])

    def open_sealed(self, machine_id: str, extension: str, revision: int, sealed: str) -> dict[str, Any]:
        """Return protected settings that were sealed for this key; raises InputError (SEALED_SETTINGS_INVALID)."""
        return open_sealed(self._key, machine_id, extension, revision, sealed)

    def matches(self, certificate: "CertificateFacts") -> bool:
        """Say whether the certificate is for this key."""
        return certificate.public_key == _public_bytes(self._key.public_key())


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What the agent has to know of its certificate."""

    serial: str
    """Hexadecimal, lower case."""
    not_before: datetime
    not_after: datetime
    public_key: bytes
    """DER of its SubjectPublicKeyInfo."""

    @property
    def half_life(self) -> datetime:
        """When to renew."""
        return self.not_before + (self.not_after - self.not_before) / 2


def parse_certificate(pem: str | bytes) -> CertificateFacts:
    """Return facts of the first certificate in PEM text; raises AzcmError 107."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode() if isinstance(pem, str) else pem)
        public = _public_bytes(certificate.public_key())
    except (ValueError, TypeError) as error:
        raise AzcmError(
            107, "The machine's certificate can't be read.", cause=str(error), remedy="Connect the machine again."
        ) from None
    return CertificateFacts(
        f"{certificate.serial_number:x}",
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        public,
    )


def read_certificate(paths: AgentPaths) -> CertificateFacts | None:
    """Return facts of the stored certificate, None when there is none; raises AzcmError 107."""
    try:
        pem = paths.machine_certificate.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AzcmError(107, f"{paths.machine_certificate} can't be read.", cause=error.strerror or "") from None
    return parse_certificate(pem)


def store_certificate(paths: AgentPaths, chain_pem: str) -> None:
    """Replace the stored certificate chain."""
    # A certificate is no secret, and its folder is the services' own.
    write_file(paths.machine_certificate, chain_pem, PUBLIC)


def _public_bytes(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def now() -> datetime:
    """Return the machine's own time in UTC."""
    return datetime.now(UTC)


def _unreadable(path: Path, cause: str) -> AzcmError:
    return AzcmError(
        104,
        f"The machine's key {path} can't be read.",
        cause=cause,
        remedy="Run as root; if the file is damaged, 'azcmagent disconnect --force-local-only' and connect again.",
    )
