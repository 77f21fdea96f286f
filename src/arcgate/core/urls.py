"""The URLs that we take: http and https with a host, an optional port, user and password, and a path."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from arcgate.core.errors import InputError
from arcgate.core.names import Target, parse_host

_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?:(?P<user>[^\s:@/?#]*)(?::(?P<password>[^\s@/?#]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:@/?#\[\]\\]+)(?::(?P<port>[1-9][0-9]{0,4}))?(?P<path>/[\x21-\x7e]*)?\Z"
)
# A password that nobody escaped may hold "@", and after "user:" also "/", "?" and "#": rather too much than too little.
_WORD = re.compile(r"\S++")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://")
_AUTHORITY_MARK = re.compile(r"[/?#:@]")
_AUTHORITY_END = re.compile(r"[/?#]|\Z")


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL. User and password are decoded, and left out when it is printed."""

    scheme: str
    target: Target
    path: str
    user: str = ""
    password: str = ""

    @property
    def is_tls(self) -> bool:
        """Whether the scheme is https."""
        return self.scheme == "https"

    @property
    def origin(self) -> str:
        """Scheme, host and port, without the port where it is the scheme's own; never the password."""
        usual = 443 if self.is_tls else 80
        authority = self.target.authority
        return f"{self.scheme}://{authority.removesuffix(f':{usual}') if self.target.port == usual else authority}"

    def __str__(self) -> str:
        return self.origin + ("" if self.path == "/" else self.path)

    def __repr__(self) -> str:
        return f"Url({self})"


def parse_url(text: str) -> Url:
    """Return the URL that `text` spells; raises InputError (URL_INVALID), whose text never holds the password."""
    match = _URL.match(text)
    if match is None:
        raise _invalid(text, "it must be http://HOST[:PORT] or https://HOST[:PORT]")
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else (443 if scheme == "https" else 80)
    if port > 65535:
        raise _invalid(text, "a port is at most 65535")
    try:
        host = parse_host(match["host"])
    except InputError as error:
        raise _invalid(text, error.cause) from None
    return Url(
        scheme, Target(host, port), match["path"] or "/", unquote(match["user"] or ""), unquote(match["password"] or "")
    )


def redact(text: str) -> str:
    """Return the text with user and password of every URL in it replaced by stars."""
    # In time that grows with the length alone: logs hold lines of megabytes, and strangers write into them.
    return _WORD.sub(_redacted_word, text) if "://" in text and "@" in text else text


def _redacted_word(match: re.Match[str]) -> str:
    word, done, kept = match[0], 0, ""
    last = word.rfind("@")
    for scheme in _SCHEME.finditer(word) if last >= 0 else ():
        start = scheme.end()
        if scheme.start() < done:
            continue
        if start > last:
            break
        if (end := _end_of_credentials(word, start, last)) >= 0:
            kept, done = f"{kept}{word[done:start]}***", end
    return kept + word[done:]


def _end_of_credentials(word: str, start: int, last: int) -> int:
    """Return where the "@" of a URL stands whose authority begins at `start`, -1 when it has no credentials."""
    mark = _AUTHORITY_MARK.search(word, start)
    if mark is not None and mark[0] == ":":
        return last if last > mark.start() else -1
    end = _AUTHORITY_END.search(word, start)
    assert end is not None
    return word.rfind("@", start, end.start())


def _invalid(text: str, cause: str) -> InputError:
    # A malformed URL may hide its password anywhere before the last "@".
    before, at, host = text.rpartition("@")
    scheme, mark, _ = before.partition("://")
    shown = (scheme + mark if mark else "") + "***@" + host if at else text
    return InputError("URL_INVALID", f"{shown[:200]!a} is not a URL that can be used.", cause=cause)
