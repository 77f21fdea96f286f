"""The metadata endpoint without its sockets: who may have what, by whichever identity the machine has now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from arcgate.agent.cloud import Cloud
from arcgate.agent.himds.challenges import Challenges
from arcgate.agent.himds.identity_tokens import IdentityTokens
from arcgate.agent.himds.metadata_documents import endpoints_document, instance_document
from arcgate.agent.himds.metadata_requests import Asked, Document, Refused, Reply, refusal
from arcgate.agent.http import ServiceRefusal
from arcgate.agent.platform import MachineFacts
from arcgate.agent.state import AgentIdentity
from arcgate.core.errors import ArcgateError, HopError, InputError

_log = structlog.get_logger(__name__)

RETRY_AFTER = ("Retry-After", "10")


class Working(Protocol):
    """What the endpoint needs of himdsd's session."""

    @property
    def identity(self) -> AgentIdentity:
        """The identity of the machine."""
        ...

    @property
    def cloud(self) -> Cloud:
        """Its cloud."""
        ...

    @property
    def tokens(self) -> IdentityTokens:
        """Its tokens."""
        ...


@dataclass(slots=True)
class MetadataEndpoint:
    """Answers requests that have been read. `session` returns None while the machine is not connected."""

    challenges: Challenges
    facts: MachineFacts
    session: Callable[[], Working | None]

    async def answer(self, asked: Asked) -> Reply:
        """Return the answer; raises Refused."""
        session = self.session()
        if session is None:
            raise Refused(400, "identity_not_found", "This machine is not connected: run 'azcmagent connect'.")
        match asked.document:
            case Document.INSTANCE:
                return Reply(200, instance_document(session.identity, self.facts))
            case Document.ENDPOINTS:
                return Reply(200, endpoints_document(session.cloud, session.identity))
            case Document.TOKEN:
                return await self._token(session, asked)

    async def _token(self, session: Working, asked: Asked) -> Reply:
        if not asked.secret or not self.challenges.redeem(asked.secret):
            return self._challenge()
        try:
            token = await session.tokens.token(asked.resource, bypass_cache=asked.bypass_cache)
        except (ArcgateError, OSError) as error:
            return _failure(error)
        return Reply(
            200,
            {
                "access_token": token.access_token,
                "expires_in": str(max(session.tokens.seconds_left(token), 0)),
                "expires_on": str(token.expires_on),
                "resource": token.resource,
                "token_type": token.token_type,
            },
        )

    def _challenge(self) -> Reply:
        try:
            header = self.challenges.issue()
        except (ArcgateError, OSError) as error:
            _log.error("no challenge file could be made", folder=str(self.challenges.folder), cause=str(error))
            return refusal(500, "server_error", f"himdsd can't write its challenge files: {error}")
        text = "Read the file that WWW-Authenticate names, and send its content as Authorization: Basic."
        return refusal(401, "unauthorized", text, ("WWW-Authenticate", header))


def _failure(error: ArcgateError | OSError) -> Reply:
    match error:
        case ServiceRefusal(status=status) if status in (400, 403, 404):
            code = "invalid_resource" if status == 400 else "access_denied"
            return refusal(status, code, f"{error.code}: {error.sentence}")
        case InputError(code="TooManyRequests") | ServiceRefusal(status=429):
            return refusal(429, "too_many_requests", error.sentence, ("Retry-After", "60"))
        case InputError(code="IdentityChanged"):
            return refusal(503, "temporarily_unavailable", error.sentence, RETRY_AFTER)
        case HopError() | ServiceRefusal():
            text = f"The cloud can't be asked for a token now: {error.one_line()}"
            return refusal(503, "temporarily_unavailable", text, RETRY_AFTER)
        case _:
            return refusal(500, "server_error", str(error))
