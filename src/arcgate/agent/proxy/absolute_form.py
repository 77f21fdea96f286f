"""Requests in absolute form (RFC 9112 section 3.2.2): read strictly, and made ready to be sent on.

Pure. Bodies are the forwarder's affair; here is only which framing it may believe.
"""

import re
from dataclasses import dataclass

from arcgate.core.errors import InputError
from arcgate.core.names import Target, parse_authority
from arcgate.core.verdicts import Reason
from arcgate.wire.connect import CORRELATION_FIELD
from arcgate.wire.heads import Fields, HeadError, RequestHead

DEFAULT_PORT = 80
PSEUDONYM = "1.1 arcproxy"
"""What we call ourselves in Via."""

# No user-info, backslash or fragment: parsers disagree on where the host ends then.
_URI = re.compile(rb"http://(?P<authority>[^/?#@\\]{1,270})(?P<path>/[^?#\\]*)?(?P<query>\?[^#\\]*)?\Z", re.IGNORECASE)
_SCHEME = re.compile(rb"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}):")
_LENGTH = re.compile(r"[0-9]{1,18}\Z")
_HAS_PORT = re.compile(rb":[0-9]{1,5}\Z")

_HOP_BY_HOP = frozenset(
    {
        CORRELATION_FIELD.lower(),  # between our own hops only
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class AbsoluteRequest:
    """A request for another host: its target, and method, path and fields as that host gets them."""

    method: str
    target: Target
    path: bytes
    fields: Fields
    """Without hop-by-hop fields, with Host; framing fields as they were."""

    @property
    def host_field(self) -> str:
        """The value of Host: the port only where it isn't 80."""
        authority = self.target.authority
        return authority.removesuffix(f":{DEFAULT_PORT}") if self.target.port == DEFAULT_PORT else authority

    @property
    def uri(self) -> bytes:
        """The normalised absolute form, for an enterprise proxy."""
        return b"http://" + self.host_field.encode("ascii") + self.path


def parse_absolute(head: RequestHead) -> AbsoluteRequest:
    """Return the request that the head holds; raises HeadError when it isn't one or can be read in two ways."""
    match = _URI.match(head.target)
    if match is None:
        raise HeadError(Reason.REQUEST_MALFORMED, _why(head.target))
    target = _target(match["authority"], "the request target")
    _check_host(head, target)
    request = AbsoluteRequest(
        head.method, target, (match["path"] or b"/") + (match["query"] or b""), _end_to_end(head.fields)
    )
    framing = _framing(head)
    fields = (("Host", request.host_field), *request.fields, *framing, ("Via", PSEUDONYM))
    return AbsoluteRequest(request.method, request.target, request.path, fields)


def response_fields(fields: Fields) -> Fields:
    """Return a response's fields as our client gets them, still with the framing field that it had.

    Raises HeadError when the framing can be read in two ways.
    """
    lengths = [value for name, value in fields if name == "content-length"]
    encodings = [value for name, value in fields if name == "transfer-encoding"]
    _check_framing(lengths, encodings)
    framing = (*(("Content-Length", one) for one in lengths), *(("Transfer-Encoding", one) for one in encodings))
    return (*_end_to_end(fields), *framing, ("Via", PSEUDONYM))


def _why(target: bytes) -> str:
    match = _SCHEME.match(target)
    if match is None or target.startswith(b"/"):
        return "the request is neither CONNECT nor in absolute form: Arc Proxy is no web server"
    scheme = match["scheme"].decode("ascii").lower()
    if scheme == "https":
        return "https URLs are reached by CONNECT, never in clear"
    return "the request target is malformed" if scheme == "http" else f"the scheme {scheme} is not carried"


def _target(authority: bytes, what: str) -> Target:
    try:
        return parse_authority(authority if _HAS_PORT.search(authority) else authority + b":%d" % DEFAULT_PORT)
    except InputError as error:
        raise HeadError(Reason.REQUEST_MALFORMED, f"{what} is malformed: {error.cause}") from None


def _check_host(head: RequestHead, target: Target) -> None:
    hosts = head.all("host")
    if len(hosts) > 1:
        raise HeadError(Reason.REQUEST_MALFORMED, "there is more than one Host field")
    if not hosts:
        if head.minor_version == 0:
            return
        raise HeadError(Reason.REQUEST_MALFORMED, "the Host field is missing")
    if _target(hosts[0].encode("latin-1"), "the Host field") != target:
        raise HeadError(Reason.REQUEST_MALFORMED, "the Host field differs from the request target")


def _framing(head: RequestHead) -> Fields:
    lengths, encodings = head.all("content-length"), head.all("transfer-encoding")
    if encodings and head.minor_version == 0:
        raise HeadError(Reason.REQUEST_MALFORMED, "HTTP/1.0 has no Transfer-Encoding")
    _check_framing(lengths, encodings)
    if encodings:
        return (("Transfer-Encoding", "chunked"),)
    return (("Content-Length", lengths[0]),) if lengths else ()


def _check_framing(lengths: list[str], encodings: list[str]) -> None:
    """Refuse what two parsers could frame differently (RFC 9112 section 6.3)."""
    if lengths and encodings:
        raise HeadError(Reason.REQUEST_MALFORMED, "there are both Content-Length and Transfer-Encoding")
    if len(lengths) > 1 or any(not _LENGTH.match(length) for length in lengths):
        raise HeadError(Reason.REQUEST_MALFORMED, "Content-Length is not one number")
    if encodings and [one.lower() for one in encodings] != ["chunked"]:
        raise HeadError(Reason.REQUEST_MALFORMED, "Transfer-Encoding is not chunked")


def _end_to_end(fields: Fields) -> Fields:
    """Return the fields that are not for the next hop alone (RFC 9110 section 7.6.1), without Host and framing."""
    named = {option.strip().lower() for name, value in fields if name == "connection" for option in value.split(",")}
    dropped = _HOP_BY_HOP | named | {"host", "content-length"}
    return tuple((name, value) for name, value in fields if name not in dropped)
