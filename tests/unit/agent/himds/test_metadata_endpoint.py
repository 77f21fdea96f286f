"""Who gets which answer from the metadata endpoint."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from arcgate.agent.agent_service import IdentityToken
from arcgate.agent.himds.challenges import Challenges
from arcgate.agent.himds.identity_tokens import identity_ended
from arcgate.agent.himds.metadata_endpoint import MetadataEndpoint, Working
from arcgate.agent.himds.metadata_requests import Asked, Document, Refused, Reply
from arcgate.agent.http import Problem, ServiceRefusal
from arcgate.agent.platform import MachineFacts, Platform
from arcgate.core.errors import ArcgateError, Hop, HopError, InputError, StateError

pytestmark = pytest.mark.anyio

FACTS = MachineFacts("linux", "Debian", "12", "box.corp")
PLATFORM = cast("Platform", SimpleNamespace(has_group=lambda _audience: False))
RESOURCE = "https://a.example/"


class Tokens:
    """Gives this token, or fails like this."""

    def __init__(self, failure: Exception | None = None, left: timedelta = timedelta(hours=1)) -> None:
        self.failure = failure
        self.left = left
        self.bypassed: list[bool] = []

    async def token(self, resource: str, *, bypass_cache: bool = False) -> IdentityToken:
        self.bypassed.append(bypass_cache)
        if self.failure is not None:
            raise self.failure
        return IdentityToken("a.b.c", 1_800_000_000, resource)

    def seconds_left(self, _token: IdentityToken) -> int:
        return int(self.left.total_seconds())


def _endpoint(folder: Path, tokens: Tokens | None) -> MetadataEndpoint:
    challenges = Challenges(folder, lambda: 0.0, PLATFORM)
    session = cast("Working", SimpleNamespace(tokens=tokens)) if tokens is not None else None
    return MetadataEndpoint(challenges, FACTS, lambda: session)


async def _token(endpoint: MetadataEndpoint, **more: Any) -> Reply:
    challenge = await endpoint.answer(Asked(Document.TOKEN, RESOURCE))
    assert challenge.status == 401
    return await endpoint.answer(Asked(Document.TOKEN, RESOURCE, secret=_content_of(challenge), **more))


def _content_of(challenge: Reply) -> str:
    return Path(dict(challenge.headers)["WWW-Authenticate"].partition("=")[2]).read_text()


async def test_without_the_files_content_nobody_is_served(tmp_path: Path) -> None:
    tokens = Tokens()
    endpoint = _endpoint(tmp_path, tokens)
    for secret in ("", "wrong"):
        assert (await endpoint.answer(Asked(Document.TOKEN, RESOURCE, secret=secret))).status == 401
    assert tokens.bypassed == []


async def test_numbers_are_told_as_strings(tmp_path: Path) -> None:
    reply = await _token(_endpoint(tmp_path, Tokens()))
    assert (reply.document["expires_in"], reply.document["expires_on"]) == ("3600", "1800000000")


async def test_a_token_that_ends_now_has_no_negative_time(tmp_path: Path) -> None:
    reply = await _token(_endpoint(tmp_path, Tokens(left=timedelta(seconds=-3))))
    assert reply.document["expires_in"] == "0"


async def test_bypassing_the_cache_is_passed_on(tmp_path: Path) -> None:
    tokens = Tokens()
    await _token(_endpoint(tmp_path, tokens), bypass_cache=True)
    assert tokens.bypassed == [True]


@pytest.mark.parametrize("document", list(Document))
async def test_a_machine_that_is_not_connected_tells_nothing(tmp_path: Path, document: Document) -> None:
    with pytest.raises(Refused) as caught:
        await _endpoint(tmp_path, None).answer(Asked(document, RESOURCE))
    assert caught.value.reply.status == 400
    assert "azcmagent connect" in caught.value.reply.document["error_description"]


def _refusal(status: int) -> ServiceRefusal:
    return ServiceRefusal(status, Problem("Code", "It said no.", {}))


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (HopError(Hop.TCP, "TCP_REFUSED", "Refused."), 503, "temporarily_unavailable"),
        (_refusal(500), 503, "temporarily_unavailable"),
        (_refusal(401), 503, "temporarily_unavailable"),
        (identity_ended(), 503, "temporarily_unavailable"),
        (_refusal(429), 429, "too_many_requests"),
        (InputError("TooManyRequests", "Wait."), 429, "too_many_requests"),
        (_refusal(400), 400, "invalid_resource"),
        (_refusal(403), 403, "access_denied"),
        (_refusal(404), 404, "access_denied"),
        (InputError("TOKEN_INVALID", "It holds no token."), 500, "server_error"),
        (OSError("No space."), 500, "server_error"),
    ],
)
async def test_each_failure_is_told_in_words(tmp_path: Path, failure: Exception, status: int, code: str) -> None:
    reply = await _token(_endpoint(tmp_path, Tokens(failure)))
    assert (reply.status, reply.document["error"]) == (status, code)
    said = failure.sentence if isinstance(failure, ArcgateError) else str(failure)
    assert said in reply.document["error_description"]


async def test_a_folder_that_can_not_be_written_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    reply = await _endpoint(file, Tokens()).answer(Asked(Document.TOKEN, RESOURCE))
    assert (reply.status, reply.document["error"]) == (500, "server_error")


async def test_a_folder_that_clients_can_not_be_told_of_is_an_error(tmp_path: Path) -> None:
    reply = await _endpoint(tmp_path / "a=b", Tokens()).answer(Asked(Document.TOKEN, RESOURCE))
    assert reply.status == 500
    assert StateError.__name__ not in str(reply.document)
