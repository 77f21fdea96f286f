"""The certificate that a server, or somebody in its place, has shown: whose it is, for errors and reports."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from arcgate.core.errors import ArcgateError, Hop, HopError
from arcgate.core.verdicts import Reason
from arcgate.net.dialer import CertificateRefused, ConnectRefused
from arcgate.net.streams import ByteStream, StreamReset
from arcgate.net.tls import TlsStream

LOOK = 5.0
"""Seconds that a second look at a refused certificate may take."""

EXPIRED, NOT_YET_VALID, HOSTNAME_MISMATCH, ADDRESS_MISMATCH = 10, 9, 62, 64
"""OpenSSL's verify codes (openssl-verification-options(1))."""

CHAIN_IS_UNKNOWN = frozenset({2, 18, 19, 20, 21, 24})
"""No trusted issuer, self-signed, and an authority that isn't one."""

_log = structlog.get_logger(__name__)

Open = Callable[[], Awaitable[ByteStream]]


@dataclass(frozen=True, slots=True)
class Presented:
    """Whose certificate was shown; the fingerprint is SHA-256, as `openssl x509 -fingerprint -sha256` prints it."""

    issuer: str
    subject: str
    fingerprint: str

    def __str__(self) -> str:
        return f"issuer {self.issuer}, subject {self.subject}, SHA-256 {self.fingerprint}"


def describe(certificate: x509.Certificate) -> Presented:
    """Return whose a certificate is."""
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return Presented(name_of(certificate.issuer), name_of(certificate.subject), fingerprint)


def name_of(name: x509.Name) -> str:
    """Return who that is, in a few words."""
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME):
        if values := name.get_attributes_for_oid(kind):
            return f"'{values[0].value!s}'"
    return f"'{name.rfc4514_string()}'"


def parse(der: bytes | None) -> x509.Certificate | None:
    """Return the certificate, None for bytes that are none."""
    try:
        return x509.load_der_x509_certificate(der) if der else None
    except ValueError:
        return None


def is_issued_by(tls: TlsStream, authorities_pem: str) -> bool:
    """Say whether one of the authorities has itself issued the certificate that the peer has shown."""
    leaf = parse(tls.tls.getpeercert(binary_form=True))
    return leaf is not None and any(_has_issued(one, leaf) for one in _authorities(authorities_pem))


@lru_cache(maxsize=4)
def _authorities(pem: str) -> tuple[x509.Certificate, ...]:
    return tuple(x509.load_pem_x509_certificates(pem.encode())) if pem else ()


def _has_issued(authority: x509.Certificate, leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


async def look(open_stream: Open, server: str) -> x509.Certificate | None:
    """Return what a server shows, unverified and only to name it; nothing is sent to it. None when it can't be had."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ArcgateError, ssl.SSLError, StreamReset, TimeoutError):
        async with asyncio.timeout(LOOK):
            stream = await open_stream()
            try:
                tls = TlsStream(stream, context, server_side=False, server_hostname=server)
                await tls.handshake()
                return parse(tls.tls.getpeercert(binary_form=True))
            finally:
                await stream.close()
    return None


def intercepted(server: str, presented: Presented | None, cause: str, *, is_trusted: bool = False) -> HopError:
    """Return the error of a server in whose place somebody else has shown a certificate.

    As a rule nobody whom we trust has issued that; `is_trusted` says that the system trusts its issuer.
    """
    issuer = presented.issuer if presented is not None else "an unknown authority"
    trust = "and is not the server's own" if is_trusted else "which is not trusted"
    details = f"{cause}; the certificate that came: {presented}" if presented is not None else cause
    return HopError(
        Hop.TLS,
        "TLS_INTERCEPTED",
        f"TLS to {server} seems to be intercepted: its certificate was issued by {issuer}, {trust}.",
        cause=details,
        remedy=f"If {issuer} is your inspecting proxy's or firewall's, have {server} (this one name) exempted there, "
        "or trust it on purpose: 'azcmagent config set inspection.ca FILE' with its certificate in PEM, and allow "
        "signed channels on the gateway. If it is your cloud's authority, add it to the cloud definition's ca.",
    )


def behind_our_back(error: HopError, tls: TlsStream, server: str) -> HopError:
    """Return the error of a refused CONNECT on TLS to which we gave our certificate.

    Where the answer shows that it has not arrived, the system trusts somebody who opens TLS on the way.
    """
    is_telling = isinstance(error, ConnectRefused) and error.refusal.code in {"", Reason.CERTIFICATE_REQUIRED}
    certificate = parse(tls.tls.getpeercert(binary_form=True)) if is_telling else None
    if certificate is None:
        return error
    cause = f"the machine's certificate has not arrived ({error.sentence})"
    return intercepted(server, describe(certificate), cause, is_trusted=True)


def unacceptable(
    server: str, certificate: x509.Certificate | None, verify_code: int, message: str, now: datetime
) -> HopError:
    """Return why a certificate was refused: by whom it was issued, or what else is wrong with it."""
    if verify_code in {EXPIRED, NOT_YET_VALID} and certificate is not None:
        return _outside_its_time(server, certificate, now)
    if verify_code in CHAIN_IS_UNKNOWN:
        return intercepted(server, describe(certificate) if certificate is not None else None, message)
    issuer = f" (issued by {name_of(certificate.issuer)})" if certificate is not None else ""
    return HopError(
        Hop.TLS,
        "TLS_CERTIFICATE_REFUSED",
        f"The certificate of {server} is not acceptable.",
        cause=f"{message}{issuer}",
        remedy="Check that the name leads to the right place, and that no proxy on the path inspects TLS.",
    )


def _outside_its_time(server: str, certificate: x509.Certificate, now: datetime) -> HopError:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    is_early = now < first
    return HopError(
        Hop.TLS,
        "TLS_CERTIFICATE_NOT_YET_VALID" if is_early else "TLS_CERTIFICATE_EXPIRED",
        f"The certificate of {server} is {'not valid yet' if is_early else 'expired'} by this machine's clock.",
        cause=f"it is valid from {_day(first)} to {_day(last)}, and the clock says {_day(now)}",
        remedy="If the clock is wrong, set it (and switch time synchronisation on); "
        "if it is right, the server's certificate must be renewed.",
    )


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


async def explain(error: HopError, open_stream: Open, server: str) -> HopError:
    """Return a failed handshake's error, with what is wrong with the certificate that came."""
    if not isinstance(error, CertificateRefused) or error.hop is not Hop.TLS:
        return error
    certificate = await look(open_stream, server)
    if certificate is None:
        return error
    if error.verify_code in CHAIN_IS_UNKNOWN:
        shown = describe(certificate)
        _log.warning(
            "a certificate came that nobody trusted has issued",
            server=server,
            issuer=shown.issuer,
            subject=shown.subject,
            sha256=shown.fingerprint,
        )
    return unacceptable(server, certificate, error.verify_code, error.cause, datetime.now(UTC))
