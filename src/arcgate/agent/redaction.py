"""Takes secrets out of texts before they leave the machine: what looks like one goes, wherever it stands. Pure."""

import re

from arcgate.core.urls import redact

STARS = "***"

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# All of them take time that grows with the length alone: logs hold lines of megabytes, and strangers write into them.
_TOKEN = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]*+){1,4}")
_TOKEN_START = re.compile(r"\beyJ[A-Za-z0-9_-]{5}")
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic|negotiate|ntlm)(\s{1,16})[A-Za-z0-9+/=._~-]{6,}")
_WORDS = r"(?:password|passwd|pwd|secret|token|credential|api[_-]?key|private[_-]?key|sas|sig|signature|assertion)"
# A string that its line cuts off is one all the same.
_VALUE = r"(?:\"(?:[^\"\\\n]|\\(?:[^\n]|$))*+(?:\"|$)|'[^'\n]*+(?:'|$)|[^\s,;&\"'}\]]+)"
_ASSIGNMENT = re.compile(rf"(?im)({_WORDS}[\w.-]{{0,64}}[\"']?\s{{0,16}}[=:]\s{{0,16}})({_VALUE})")


def redact_text(text: str) -> str:
    """Return the text with private keys, tokens, passwords and credentials in URLs replaced by stars."""
    text = _PEM.sub(f"{STARS} (private key)", text)
    text = redact(text)
    text = _AUTHORIZATION.sub(rf"\1\2{STARS}", text)
    text = _TOKEN.sub(_without_token, text)
    return _ASSIGNMENT.sub(_without_value, text)


def _without_token(match: re.Match[str]) -> str:
    start = _TOKEN_START.search(match[0])
    return match[0] if start is None or "." not in match[0][start.start() :] else match[0][: start.start()] + STARS


def _without_value(match: re.Match[str]) -> str:
    value = match[2]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match[1]}{quote}{STARS}{quote}"
