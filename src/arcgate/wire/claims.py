"""The process that opened a tunnel, as Arc Proxy tells it on the nested CONNECT: a claim of the machine's, no proof."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from arcgate.core.audit import printable
from arcgate.wire.heads import Fields, RequestHead

PROCESS_FIELD = "Arcgate-Process"
LONGEST_EXECUTABLE = 200
"""Characters of an executable's path; each takes up to twelve in the field."""

_CLAIM = re.compile(
    r"uid=(?P<user>[0-9]{1,10})(?:; pid=(?P<process>[0-9]{1,10}); exe=(?P<executable>[A-Za-z0-9/._~%-]{0,2400}))?\Z"
)


@dataclass(frozen=True, slots=True)
class ProcessClaim:
    """Who is said to have opened a connection; without a process, only its user is known."""

    user_id: int
    process: int = 0
    executable: str = ""

    def __str__(self) -> str:
        user = f"uid {self.user_id}"
        return f"{user}, pid {self.process}, {self.executable}" if self.process else user


def format_claim(claim: ProcessClaim) -> Fields:
    """Return the field that makes the claim."""
    value = f"uid={claim.user_id}"
    if claim.process:
        value += f"; pid={claim.process}; exe={quote(claim.executable[:LONGEST_EXECUTABLE], safe='/')}"
    return ((PROCESS_FIELD, value),)


def read_claim(head: RequestHead) -> str:
    """Return the claim of a request in words for the audit, empty when there is none or it is malformed."""
    given = head.all(PROCESS_FIELD.lower())
    match = _CLAIM.match(given[0]) if len(given) == 1 else None
    if match is None:
        return ""
    if match["process"] is None:
        return str(ProcessClaim(int(match["user"])))
    executable = printable(unquote(match["executable"], errors="replace"), LONGEST_EXECUTABLE)
    return str(ProcessClaim(int(match["user"]), int(match["process"]), executable))
