"""HTTP/1 heads, read strictly (RFC 9112 sections 2 to 5).

Whatever two parsers could read differently is refused: bare CR or LF, folded lines, space before a colon,
control characters, repeated Host, other spellings of the version. Only CRLF ends a line.
"""

import re
from dataclasses import dataclass

from arcgate.core.verdicts import Reason

_REQUEST_LINE = re.compile(rb"(?P<method>[A-Z]{1,20}) (?P<target>[\x21-\x7e]{1,8192}) HTTP/1\.(?P<minor>[01])\Z")
_STATUS_LINE = re.compile(
    rb"HTTP/1\.(?P<minor>[01]) (?P<status>[1-5][0-9]{2})(?: (?P<phrase>[\t\x20-\x7e\x80-\xff]*))?\Z"
)
_FIELD = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*(?P<value>[\t\x20-\x7e\x80-\xff]*)\Z")
_REQUEST_START = re.compile(rb"(?:[A-Z]{1,20}(?: |\Z)|\Z)")
_RESPONSE_START = b"HTTP/1."
# CR LF alone ends a line: another CR, LF or control character is wrong wherever it stands.
_BROKEN = re.compile(rb"(?<!\r)\n|\r(?![\n]|\Z)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Fields = tuple[tuple[str, str], ...]

SWITCHING_PROTOCOLS = 101
"""The one interim status after which no other head follows (RFC 9110 section 15.2.2)."""


class HeadError(Exception):
    """A peer's head is not acceptable; `reason` says which refusal it earns, `detail` what was wrong."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a head, both inclusive."""

    bytes: int = 16 * 1024
    fields: int = 100


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request line and its fields; field names are lower case, values have no outer white space."""

    method: str
    target: bytes
    minor_version: int
    fields: Fields

    def all(self, name: str) -> list[str]:
        """Return the values of a field in order."""
        return [value for known, value in self.fields if known == name]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A status line and its fields."""

    status: int
    phrase: str
    fields: Fields
    minor_version: int = 1

    def first(self, name: str) -> str:
        """Return a field's first value, or an empty string."""
        return next((value for known, value in self.fields if known == name), "")


class _HeadReader:
    """Collects bytes until the empty line; what follows it stays in `rest`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._first_line_is_good = False
        self.rest = b""

    def _complete(self, data: bytes) -> list[bytes] | None:
        searched = max(0, len(self._buffer) - 3)
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n", searched)
        if (end < 0 and len(self._buffer) > self._limits.bytes) or end + 4 > self._limits.bytes:
            raise HeadError(Reason.HEAD_TOO_LARGE, f"the head has more than {self._limits.bytes} bytes")
        if end < 0:
            self._check_so_far(searched)
            return None
        self.rest = bytes(self._buffer[end + 4 :])
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        if len(lines) - 1 > self._limits.fields:
            raise HeadError(Reason.HEAD_TOO_LARGE, f"the head has more than {self._limits.fields} fields")
        return lines

    def _check_so_far(self, searched: int) -> None:
        """Refuse what can't become a head any more, so that the peer need not wait for the time-out."""
        if _BROKEN.search(self._buffer, searched) is not None:
            raise HeadError(Reason.REQUEST_MALFORMED, "a line holds a control character or doesn't end in CR LF")
        self._check_start(bytes(self._buffer[:32]))
        if not self._first_line_is_good:
            line, end, _ = self._buffer.partition(b"\r\n")
            if end:
                self._check_first_line(bytes(line))
                self._first_line_is_good = True

    def _check_start(self, start: bytes) -> None:
        raise NotImplementedError

    def _check_first_line(self, line: bytes) -> re.Match[bytes]:
        raise NotImplementedError


class RequestReader(_HeadReader):
    """Reads one request head; feed it bytes until it returns one."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())

    @property
    def has_begun(self) -> bool:
        """Whether a byte of the head has arrived."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> RequestHead | None:
        """Take more bytes; return the head once it is complete. Raises HeadError on the first sign of trouble."""
        lines = self._complete(data)
        if lines is None:
            return None
        match = self._check_first_line(lines[0])
        return RequestHead(
            match["method"].decode(), match["target"], match["minor"][0] - ord("0"), _parse_fields(lines[1:])
        )

    def _check_start(self, start: bytes) -> None:
        if _REQUEST_START.match(start) is None:
            raise HeadError(Reason.REQUEST_MALFORMED, "this is not an HTTP/1 request")

    def _check_first_line(self, line: bytes) -> re.Match[bytes]:
        match = _REQUEST_LINE.match(line)
        if match is None:
            raise HeadError(Reason.REQUEST_MALFORMED, "the request line is malformed")
        return match


class ResponseReader(_HeadReader):
    """Reads one final response head, or 101; other interim (1xx) responses before it are passed over."""

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits(bytes=64 * 1024, fields=200))

    def feed(self, data: bytes) -> ResponseHead | None:
        """Take more bytes; return the head once it is complete. Raises HeadError."""
        while (lines := self._complete(data)) is not None:
            match = self._check_first_line(lines[0])
            status = int(match["status"])
            if status >= 200 or status == SWITCHING_PROTOCOLS:
                phrase = (match["phrase"] or b"").decode("latin-1")
                return ResponseHead(status, phrase, _parse_fields(lines[1:]), match["minor"][0] - ord("0"))
            self._buffer, self._first_line_is_good = bytearray(), False
            data = self.rest
        return None

    def _check_start(self, start: bytes) -> None:
        if not _RESPONSE_START.startswith(start[:7]):
            raise HeadError(Reason.REQUEST_MALFORMED, "this is not an HTTP/1 response")

    def _check_first_line(self, line: bytes) -> re.Match[bytes]:
        match = _STATUS_LINE.match(line)
        if match is None:
            raise HeadError(Reason.REQUEST_MALFORMED, "the status line is malformed")
        return match


def _parse_fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        match = _FIELD.match(line)
        if match is None:
            raise HeadError(Reason.REQUEST_MALFORMED, f"a header field is malformed: {line[:60]!r}")
        fields.append((match["name"].decode().lower(), match["value"].decode("latin-1").strip(" \t")))
    return tuple(fields)


def format_fields(fields: Fields) -> bytes:
    """Return the fields as lines; raises ValueError for one that would break out of its line."""
    lines = [f"{name}: {value}".encode("latin-1") for name, value in fields]
    for line in lines:
        if _FIELD.match(line) is None:
            raise ValueError(f"not a header field: {line!r}")
    return b"".join(line + b"\r\n" for line in lines)
