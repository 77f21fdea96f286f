"""Certificates as pure functions of an issuer, a public key and the time: roots, servers and machines.

Profiles satisfy RFC 5280 as strictly as OpenSSL's X509_V_FLAG_X509_STRICT reads it (Python 3.13's default):
key identifiers everywhere, critical basic constraints and key usage, one extended usage for each leaf.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

ROOT_LIFETIME = timedelta(days=3652)
BACKDATED = timedelta(minutes=5)
"""How far notBefore lies in the past, for machines whose clock is behind."""
LONGEST_COMMON_NAME = 64

_ORGANISATION = "Arcgate"


@dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate authority: its certificate and the key that signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class MachineIdentity:
    """Who a machine is, as its certificate says."""

    tenant_id: str
    machine_id: str

    @property
    def uri(self) -> str:
        """The subject alternative name of the machine's certificate."""
        return f"urn:arcgate:machine:{self.tenant_id}:{self.machine_id}"


def make_root(common_name: str, now: datetime) -> Issuer:
    """Return a new authority: EC P-256, good for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    certificate = (
        _builder(name, name, key.public_key(), now, now + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issuer(certificate, key)


def issue_server(
    issuer: Issuer, key: PublicKey, names: Iterable[str], now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """Return a server's certificate for DNS names (a leading `*.` allowed) and IP addresses."""
    all_names = tuple(names)
    fitting = next((name for name in all_names if len(name) <= LONGEST_COMMON_NAME), "server")
    subject = x509.SubjectAlternativeName([_general_name(name) for name in all_names])
    return _leaf(issuer, key, _name(fitting), subject, ExtendedKeyUsageOID.SERVER_AUTH, now, lifetime)


def issue_machine(
    issuer: Issuer, key: PublicKey, machine: MachineIdentity, now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """Return a machine's client certificate."""
    subject = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(machine.uri)])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, machine.machine_id)])
    return _leaf(issuer, key, name, subject, ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime)


def is_due_for_renewal(certificate: x509.Certificate, now: datetime) -> bool:
    """Say whether a third or less of the certificate's life is left."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now <= life / 3


def serial_of(certificate: x509.Certificate) -> str:
    """Return the serial number as policy and resources spell it: lower-case hexadecimal, no leading zeros."""
    return format(certificate.serial_number, "x")


def _leaf(
    issuer: Issuer,
    key: PublicKey,
    subject: x509.Name,
    names: x509.SubjectAlternativeName,
    purpose: x509.ObjectIdentifier,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    end = min(now + lifetime, issuer.certificate.not_valid_after_utc)
    issuer_identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, issuer.certificate.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier), critical=False
        )
        .sign(issuer.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
