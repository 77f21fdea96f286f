"""Why a TLS handshake failed, in words that name the issuer, the dates or the peer. Pure."""

import ssl
from datetime import UTC, datetime

from cryptography import x509

from arcgate.agent.presented import describe, intercepted, name_of, parse
from arcgate.core.errors import Hop, HopError
from arcgate.net.tls import describe_failure

EXPIRED, NOT_YET_VALID, HOSTNAME_MISMATCH, ADDRESS_MISMATCH = 10, 9, 62, 64
"""OpenSSL's verify codes (openssl-verification-options(1))."""

CHAIN_IS_UNKNOWN = frozenset({2, 18, 19, 20, 21, 24})
"""No trusted issuer, self-signed, and an authority that isn't one."""


def diagnose(error: ssl.SSLError, server: str, presented: bytes | None, now: datetime) -> HopError:
    """Return what a failed handshake means; `presented` is the leaf certificate (DER) if it could be fetched."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return HopError(
            Hop.TLS,
            "TLS_FAILED",
            f"{server} did not complete the TLS handshake.",
            cause=describe_failure(error),
            remedy="Look for a firewall or proxy on the path that inspects or drops TLS.",
        )
    certificate = parse(presented)
    if error.verify_code in {EXPIRED, NOT_YET_VALID} and certificate is not None:
        return _outside_its_time(server, certificate, now)
    if error.verify_code in CHAIN_IS_UNKNOWN:
        return _intercepted(server, certificate, error)
    return HopError(
        Hop.TLS,
        "TLS_CERTIFICATE_REFUSED",
        f"The certificate of {server} is not acceptable.",
        cause=f"{error.verify_message}{_issued_by(certificate)}",
        remedy="Check that the name leads to the right place, and that no proxy on the path inspects TLS.",
    )


def _intercepted(server: str, certificate: x509.Certificate | None, error: ssl.SSLCertVerificationError) -> HopError:
    return intercepted(server, describe(certificate) if certificate is not None else None, error.verify_message)


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


def _issued_by(certificate: x509.Certificate | None) -> str:
    return f" (issued by {name_of(certificate.issuer)})" if certificate is not None else ""


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
