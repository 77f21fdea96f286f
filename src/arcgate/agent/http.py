"""The agent's HTTPS requests to its cloud, and how refusals of the cloud's services become errors."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Protocol

from arcgate import __version__
from arcgate.agent import presented
from arcgate.agent.surroundings import Surroundings
from arcgate.agent.trust import Trust
from arcgate.core.audit import printable
from arcgate.core.errors import ArcgateError, HopError
from arcgate.core.names import Target
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.kept_lines import KeptLines
from arcgate.net.streams import ByteStream
from arcgate.net.tls import client_context, join_pem

USER_AGENT = f"azcmagent/{__version__}"


class OpensConnections(Protocol):
    """What a client needs of `Outbound`."""

    @property
    def surroundings(self) -> Surroundings:
        """The newest surroundings."""
        ...

    def is_end_to_end(self, target: Target) -> bool:
        """Say whether requests to the target go by a gateway."""
        ...

    async def open_for_agent(self, target: Target) -> ByteStream:
        """Return a connection to the target; raises HopError."""
        ...


def client(outbound: OpensConnections, ca_pem: str = "", *, keeps: bool = False) -> HttpClient:
    """Return a client that trusts the system's authorities and the cloud's.

    One that `keeps` uses connections again, for those who ask all the time; it must be closed.
    """
    kept = KeptLines() if keeps else None
    return _AgentClient(
        outbound.open_for_agent,
        client_context(ca_pem=ca_pem),
        USER_AGENT,
        kept,
        outbound=outbound,
        ca_pem=ca_pem,
        trust=Trust(),
    )


@dataclass(frozen=True, slots=True)
class _AgentClient(HttpClient):
    """Trusts who inspects TLS, if an admin does, for what goes by no gateway; names who stands in a server's place."""

    outbound: OpensConnections = field(kw_only=True)
    ca_pem: str = field(kw_only=True)
    trust: Trust = field(kw_only=True)

    def context_for(self, target: Target) -> ssl.SSLContext:
        """See HttpClient."""
        inspection = self.outbound.surroundings.inspection_ca
        if not inspection or self.outbound.is_end_to_end(target):
            return self.context
        return self.trust.servers(join_pem((self.ca_pem, inspection)))

    async def explain(self, error: HopError, target: Target) -> HopError:
        """See HttpClient."""
        return await presented.explain(error, lambda: self.outbound.open_for_agent(target), str(target.host))


@dataclass(frozen=True, slots=True)
class Problem:
    """What an answer other than 2xx says: `{"error": {"code", "message", …}}` or OAuth's form of it."""

    code: str
    message: str
    more: dict[str, Any]


class ServiceRefusal(ArcgateError):
    """A service of the cloud answered with an error."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.code, problem.message)
        self.status = status
        self.problem = problem


def problem_of(answer: Answer) -> Problem:
    """Return what the answer says, made fit for a terminal."""
    document = answer.json()
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        return Problem(_text(error.get("code"), "Error"), _text(error.get("message"), f"HTTP {answer.status}"), error)
    if isinstance(error, str):
        description = document.get("error_description")
        return Problem(printable(error, 100), _text(description, f"HTTP {answer.status}"), {})
    return Problem(f"HTTP{answer.status}", f"The answer had status {answer.status}.", {})


def require_success(answer: Answer) -> dict[str, Any]:
    """Return the answer's JSON object, an empty one without a body; raises ServiceRefusal."""
    if not answer.is_success:
        raise ServiceRefusal(answer.status, problem_of(answer))
    document = answer.json()
    return document if isinstance(document, dict) else {}


def _text(value: Any, fallback: str) -> str:
    return printable(value, 1000) if isinstance(value, str) and value else fallback
