"""CONNECT requests and their answers (RFC 9110 section 9.3.6), as clients, Arc Proxy and gateway exchange them."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from arcgate.core.audit import printable
from arcgate.core.errors import InputError
from arcgate.core.hand_over import HandOverMode, parse_mode
from arcgate.core.names import Target, parse_authority
from arcgate.core.verdicts import EXPLANATIONS, Reason, Verdict
from arcgate.wire.frames import FRAMES_FIELD, FRAMES_VERSION
from arcgate.wire.heads import Fields, HeadError, RequestHead, format_fields

CORRELATION_FIELD = "Arcgate-Correlation-Id"
REASON_FIELD = "Arcgate-Reason"
HAND_OVER_FIELD = "Arcgate-Hand-Over"
HOLD_END_FIELD = "Arcgate-Hold-End"
"""Asks the gateway to hold back the end of a raw direction: a proxy on the way ends both at the first one."""
HOLD_END = "1"

_CORRELATION_ID = re.compile(r"[A-Za-z0-9-]{8,64}\Z")
_SECONDS = re.compile(r"[0-9]{1,6}\Z")
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A well-formed CONNECT; the correlation id is empty when the client sent none that we accept.

    `offers_frames` and `hand_over` say what an Arc Proxy offered for the channel, and `holds_end` whether a proxy is on
    the way that ends both directions at once; generic clients say nothing of it.
    """

    target: Target
    correlation_id: str
    offers_frames: bool = False
    hand_over: HandOverMode = HandOverMode.OFF
    holds_end: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused CONNECT as the client sees it; `code` is a reason code, or empty when a stranger answered."""

    status: int
    code: str
    message: str
    detail: str
    remedy: str
    correlation_id: str
    hop: str = ""
    """The hop that failed, when Arc Proxy names it."""
    retry_after: int = 0
    """Seconds after which to try again, 0 when the answer names none."""


def parse_connect(head: RequestHead) -> ConnectRequest:
    """Return the CONNECT that the head holds; raises HeadError when it isn't one or contradicts itself."""
    if head.method != "CONNECT":
        raise HeadError(Reason.METHOD_NOT_ALLOWED, f"the method is {head.method}")
    target = _parse_target(head.target, "the request target")
    _check_host(head, target)
    if head.all("transfer-encoding") or any(length != "0" for length in head.all("content-length")):
        # A CONNECT has no content; bytes after the head belong to the tunnel.
        raise HeadError(Reason.REQUEST_MALFORMED, "a CONNECT request has no body")
    offered = head.all(CORRELATION_FIELD.lower())
    accepted = len(offered) == 1 and _CORRELATION_ID.match(offered[0]) is not None
    offers_frames = head.all(FRAMES_FIELD.lower()) == [FRAMES_VERSION]
    hand_over = _offered_mode(head) if offers_frames else HandOverMode.OFF
    holds_end = hand_over is not HandOverMode.OFF and head.all(HOLD_END_FIELD.lower()) == [HOLD_END]
    return ConnectRequest(target, offered[0] if accepted else "", offers_frames, hand_over, holds_end)


def _offered_mode(head: RequestHead) -> HandOverMode:
    offered = head.all(HAND_OVER_FIELD.lower())
    return parse_mode(offered[0]) if len(offered) == 1 else HandOverMode.OFF


def _check_host(head: RequestHead, target: Target) -> None:
    hosts = head.all("host")
    if len(hosts) > 1:
        raise HeadError(Reason.REQUEST_MALFORMED, "there is more than one Host field")
    if not hosts:
        # HTTP/1.0 had none, and Python's http.client up to 3.11 tunnels with it.
        if head.minor_version == 0:
            return
        raise HeadError(Reason.REQUEST_MALFORMED, "the Host field is missing")
    given = hosts[0].encode("latin-1")
    with_port = given if re.search(rb":[0-9]{1,5}\Z", given) else given + b":%d" % target.port
    if _parse_target(with_port, "the Host field") != target:
        raise HeadError(Reason.REQUEST_MALFORMED, "the Host field differs from the request target")


# The same few names come again and again, twice in each CONNECT; refusals are not kept.
_known_authority = lru_cache(maxsize=4096)(parse_authority)


def _parse_target(authority: bytes, what: str) -> Target:
    try:
        return _known_authority(authority)
    except InputError as error:
        raise HeadError(Reason.REQUEST_MALFORMED, f"{what} is malformed: {error.cause}") from None


def format_connect(target: Target, fields: Fields = ()) -> bytes:
    """Return a CONNECT request for the target with further fields."""
    authority = target.authority
    line = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n".encode("ascii")
    return line + format_fields(fields) + b"\r\n"


def format_established(correlation_id: str, fields: Fields = ()) -> bytes:
    """Return the answer after which the tunnel begins, with further fields."""
    all_fields = format_fields(((CORRELATION_FIELD, correlation_id), *fields))
    return b"HTTP/1.1 200 Connection established\r\n" + all_fields + b"\r\n"


def format_refusal(verdict: Verdict, correlation_id: str, target: str = "") -> bytes:
    """Return the complete answer to a request that the verdict refuses."""
    explanation = EXPLANATIONS[verdict.reason]
    body = json.dumps(
        {
            "error": {
                "code": verdict.reason,
                "message": explanation.sentence,
                "detail": printable(verdict.detail),
                "remedy": explanation.remedy,
                "target": printable(target),
                "correlationId": correlation_id,
            }
        },
        indent=1,
    ).encode("ascii")
    return format_answer(
        explanation.status,
        body + b"\n",
        (
            (REASON_FIELD, verdict.reason),
            (CORRELATION_FIELD, correlation_id),
            *_extra_fields(explanation.status, verdict.retry_after),
        ),
    )


def format_answer(status: int, body: bytes, fields: Fields, content_type: str = "application/json") -> bytes:
    """Return an answer that closes the connection."""
    return format_head(status, len(body), fields, content_type) + body


def format_head(status: int, length: int, fields: Fields, content_type: str) -> bytes:
    """Return the head of an answer that closes the connection, for a body of `length` bytes."""
    line = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}\r\n".encode("ascii")
    own = (("Content-Type", content_type), ("Content-Length", str(length)), ("Connection", "close"))
    return line + format_fields((*own, *fields)) + b"\r\n"


def _extra_fields(status: int, retry_after: int) -> Fields:
    if status == 405:
        return (("Allow", "CONNECT"),)
    return (retry_after_field(retry_after),) if status == 503 else ()


def retry_after_field(seconds: int) -> tuple[str, str]:
    """Return the field that says when to try again; without a number of seconds, in one."""
    return ("Retry-After", str(seconds or 1))


def parse_refusal(status: int, fields: Fields, body: bytes) -> Refusal:
    """Return what a refusal says; fields and body of strangers (an enterprise proxy's page) become plain text."""
    known = dict(reversed(fields))
    error = _error_of(body)
    return Refusal(
        status,
        printable(known.get(REASON_FIELD.lower(), "")),
        _text_of(error, "message"),
        _text_of(error, "detail"),
        _text_of(error, "remedy"),
        printable(known.get(CORRELATION_FIELD.lower(), "")),
        printable(str(error.get("hop", ""))),
        int(wait) if _SECONDS.match(wait := known.get("retry-after", "")) else 0,
    )


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _text_of(error: dict[str, Any], key: str) -> str:
    value = error.get(key)
    return printable(value) if isinstance(value, str) else ""
