"""Arc Proxy's refusals: the gateway's passed on as they are, its own in the same form, with the hop that failed."""

import json

from arcgate.core.audit import printable
from arcgate.core.errors import ArcgateError, Hop, HopError
from arcgate.core.verdicts import EXPLANATIONS, Verdict
from arcgate.net.dialer import ConnectRefused
from arcgate.wire.connect import CORRELATION_FIELD, REASON_FIELD, Refusal, format_answer, retry_after_field
from arcgate.wire.heads import HeadError

LIMIT_REACHED = ArcgateError(
    "LIMIT_REACHED",
    "Arc Proxy serves as many connections as it may.",
    remedy="Retry later, or raise the setting arcproxy.connections.",
)
DRAINING = ArcgateError("DRAINING", "Arc Proxy is shutting down.", remedy="Retry when it has started again.")
INTERNAL = ArcgateError("INTERNAL", "Arc Proxy failed.", remedy="Search arcproxy.log for the correlation id.")

_STATUS = {
    "ROUTE_REFUSED": 403,
    "ADDRESS_NOT_ALLOWED": 403,
    "CALLER_NOT_ALLOWED": 403,
    "LIMIT_REACHED": 503,
    "DRAINING": 503,
    "INTERNAL": 500,
}


def refusal_of(error: Exception, correlation_id: str) -> Refusal:
    """Return how a client sees the error."""
    if isinstance(error, HeadError):
        explanation = EXPLANATIONS[Verdict(error.reason).reason]
        return Refusal(
            explanation.status, error.reason, explanation.sentence, error.detail, explanation.remedy, correlation_id
        )
    if isinstance(error, ConnectRefused) and error.refusal.code and error.hop is not Hop.PROXY:
        return error.refusal
    if not isinstance(error, ArcgateError):
        error = INTERNAL
    hop = error.hop if isinstance(error, HopError) else ""
    return Refusal(_status(error), error.code.lower(), error.sentence, error.cause, error.remedy, correlation_id, hop)


def _status(error: ArcgateError) -> int:
    if isinstance(error, ConnectRefused):
        # 407 asks our client for a password that is not its own to give.
        return error.refusal.status if error.refusal.status >= 400 and error.refusal.status != 407 else 502
    return _STATUS.get(error.code, 502)


def format_refusal(refusal: Refusal, target: str) -> bytes:
    """Return the complete answer that closes the connection."""
    error = {
        "code": refusal.code,
        "message": refusal.message,
        "detail": printable(refusal.detail),
        "remedy": refusal.remedy,
        "target": printable(target),
        "correlationId": refusal.correlation_id,
    }
    if refusal.hop:
        error["hop"] = refusal.hop
    fields = [(REASON_FIELD, _token(refusal.code)), (CORRELATION_FIELD, _token(refusal.correlation_id))]
    if refusal.status == 503:
        fields.append(retry_after_field(refusal.retry_after))
    body = json.dumps({"error": error}, indent=1).encode("ascii") + b"\n"
    return format_answer(refusal.status, body, tuple(fields))


def _token(text: str) -> str:
    """Return the text as far as it can stand in a field: a gateway of strangers may say anything."""
    return "".join(one for one in text if one.isascii() and (one.isalnum() or one in "-_"))[:64]
