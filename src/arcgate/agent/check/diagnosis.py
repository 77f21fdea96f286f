"""Why a TLS handshake failed, in words that name the issuer, the dates or the peer. Pure."""

import ssl
from datetime import datetime

from arcgate.agent.presented import parse, unacceptable
from arcgate.core.errors import Hop, HopError
from arcgate.net.tls import describe_failure


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
    return unacceptable(server, parse(presented), error.verify_code, error.verify_message, now)
