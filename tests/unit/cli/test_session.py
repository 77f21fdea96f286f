import dataclasses
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arcgate.cli.failures import ApiFailure, LoginNeeded
from arcgate.cli.profile import Profile, ProfileFolder, Tokens
from arcgate.cli.session import Session
from arcgate.core.errors import InputError, StateError
from arcgate.core.names import Target
from arcgate.net.http_client import Answer, Headers, HttpClient, current_headers
from arcgate.net.streams import ByteStream

pytestmark = pytest.mark.anyio

NOW = 1_000_000.0
ENDPOINT = "https://arm.example"
OIDC = {"token_endpoint": "https://login.example/t/token"}


async def no_stream(target: Target) -> ByteStream:
    raise AssertionError(f"nothing may be dialled, not {target}")


@dataclasses.dataclass(frozen=True)
class ScriptedClient(HttpClient):
    """Answers by a function of method and URL, and notes what was asked."""

    respond: Callable[[str, str, bytes], Answer] = lambda method, url, body: answer(200, {})
    asked: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers | None = None,
        body: bytes = b"",
        timeout: float = 30,
        largest_answer: int = 0,
    ) -> Answer:
        self.asked.append((method, url, current_headers(headers).get("Authorization", "")))
        return self.respond(method, url, body)


def answer(status: int, document: Any = None, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, b"" if document is None else json.dumps(document).encode())


def make_session(
    tmp_path: Path, respond: Callable[[str, str, bytes], Answer], tokens: Tokens | None = None
) -> tuple[Session, list[tuple[str, str, str]]]:
    client = ScriptedClient(no_stream, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), respond=respond)
    profile = Profile(
        endpoint=ENDPOINT, login="https://login.example", audience=f"{ENDPOINT}/", tenant_id="t", subscription_id="s"
    )
    tokens = tokens or Tokens("valid", NOW + 3600, "refresh", "client")
    folder = ProfileFolder(tmp_path / "profile")
    folder.save(profile)
    folder.save_tokens(tokens)
    return Session(folder, profile, tokens, client, lambda: NOW), client.asked


async def test_a_request_carries_token_and_api_version(tmp_path: Path) -> None:
    session, asked = make_session(tmp_path, lambda *_: answer(200, {"name": "x"}))
    assert await session.get("/a", "2026-01-01", {"$top": "5"}) == {"name": "x"}
    assert asked == [("GET", f"{ENDPOINT}/a?$top=5&api-version=2026-01-01", "Bearer valid")]


async def test_an_expired_token_is_renewed_and_stored(tmp_path: Path) -> None:
    def respond(method: str, url: str, body: bytes) -> Answer:
        if url.endswith("openid-configuration"):
            return answer(200, OIDC)
        if url == OIDC["token_endpoint"]:
            assert b"grant_type=refresh_token" in body
            return answer(200, {"access_token": "fresh", "expires_in": 3600, "refresh_token": "next"})
        return answer(200, {})

    session, asked = make_session(tmp_path, respond, Tokens("old", NOW + 30, "refresh", "client"))
    await session.get("/a", "1")
    assert asked[-1][2] == "Bearer fresh"
    assert session.folder.load_tokens() == Tokens("fresh", NOW + 3600, "next", "client")


async def test_a_service_principal_signs_in_again_with_its_secret(tmp_path: Path) -> None:
    def respond(method: str, url: str, body: bytes) -> Answer:
        if url.endswith("openid-configuration"):
            return answer(200, OIDC)
        if url == OIDC["token_endpoint"]:
            assert b"client_secret=hush" in body
            return answer(200, {"access_token": "fresh", "expires_in": 3600})
        return answer(200, {})

    session, _ = make_session(tmp_path, respond, Tokens("old", 0, client_id="c", client_secret="hush"))
    await session.get("/a", "1")
    assert session.folder.load_tokens().client_secret == "hush"


async def test_a_token_that_the_server_forgot_is_renewed_once(tmp_path: Path) -> None:
    def respond(method: str, url: str, body: bytes) -> Answer:
        if url.endswith("openid-configuration"):
            return answer(200, OIDC)
        if url == OIDC["token_endpoint"]:
            return answer(200, {"access_token": "fresh", "expires_in": 3600})
        return answer(401, {"error": {"code": "InvalidAuthenticationToken", "message": "It is refused."}})

    session, asked = make_session(tmp_path, respond)
    with pytest.raises(ApiFailure, match="refused"):
        await session.get("/a", "1")
    assert [token for _, url, token in asked if url.startswith(ENDPOINT)] == ["Bearer valid", "Bearer fresh"]


async def test_a_token_that_can_not_be_renewed_asks_for_a_login(tmp_path: Path) -> None:
    def respond(method: str, url: str, body: bytes) -> Answer:
        if url.endswith("openid-configuration"):
            return answer(200, OIDC)
        return answer(400, {"error": "invalid_grant", "error_description": "It was used."})

    session, _ = make_session(tmp_path, respond, Tokens("old", 0, "refresh", "client"))
    with pytest.raises(LoginNeeded) as caught:
        await session.get("/a", "1")
    assert "invalid_grant" in caught.value.cause


async def test_tokens_that_another_command_has_renewed_meanwhile_are_taken(tmp_path: Path) -> None:
    def respond(method: str, url: str, body: bytes) -> Answer:
        if url.endswith("openid-configuration"):
            return answer(200, OIDC)
        if url == OIDC["token_endpoint"]:
            ProfileFolder(tmp_path / "profile").save_tokens(Tokens("theirs", NOW + 3600, "next", "client"))
            return answer(400, {"error": "invalid_grant"})
        return answer(200, {})

    session, asked = make_session(tmp_path, respond, Tokens("old", 0, "refresh", "client"))
    await session.get("/a", "1")
    assert asked[-1][2] == "Bearer theirs"


async def test_pages_are_followed_at_our_endpoint_alone(tmp_path: Path) -> None:
    def respond(method: str, url: str, body: bytes) -> Answer:
        assert url.startswith(f"{ENDPOINT}/")
        if "skip" in url:
            return answer(200, {"value": [3]})
        return answer(200, {"value": [1, 2], "nextLink": "https://elsewhere.example/list?skip=2"})

    session, _ = make_session(tmp_path, respond)
    assert await session.list_all("/list", "1") == [1, 2, 3]
    assert await session.list_all("/list", "1", most=1) == [1]


@pytest.mark.parametrize("document", [None, [], {"value": 5}, "text"])
async def test_an_answer_that_is_no_list_is_told(tmp_path: Path, document: Any) -> None:
    session, _ = make_session(tmp_path, lambda *_: answer(200, document))
    with pytest.raises(StateError):
        await session.list_all("/list", "1")


async def test_a_long_operation_is_waited_for_and_the_resource_read_again(tmp_path: Path) -> None:
    states = ["Queued", "InProgress", "Succeeded"]

    def respond(method: str, url: str, body: bytes) -> Answer:
        if "operationstatus" in url:
            return answer(200, {"status": states.pop(0)}, x_ms_retry_after_ms="20")
        if method == "PUT":
            return answer(201, {"state": "new"}, azure_asyncoperation="https://elsewhere.example/operationstatus/1?x=1")
        return answer(200, {"state": "ready"})

    session, asked = make_session(tmp_path, respond)
    assert await session.put("/r", "1", {}) == {"state": "ready"}
    assert [url for _, url, _ in asked].count(f"{ENDPOINT}/operationstatus/1?x=1") == 3
    assert states == []


async def test_a_failed_operation_is_an_error_with_its_code(tmp_path: Path) -> None:
    def respond(method: str, url: str, body: bytes) -> Answer:
        if "operationstatus" in url:
            return answer(200, {"status": "Failed", "error": {"code": "Broken", "message": "It broke."}})
        return answer(202, None, azure_asyncoperation=f"{ENDPOINT}/operationstatus/1")

    session, _ = make_session(tmp_path, respond)
    with pytest.raises(ApiFailure, match="It broke") as caught:
        await session.delete("/r", "1")
    assert caught.value.code == "Broken"


async def test_nothing_is_waited_for_when_nobody_wants_it(tmp_path: Path) -> None:
    session, asked = make_session(
        tmp_path, lambda *_: answer(202, {}, azure_asyncoperation=f"{ENDPOINT}/operationstatus/1")
    )
    await session.put("/r", "1", {}, wait=False)
    assert await session.delete("/r", "1", wait=False)
    assert len(asked) == 2


async def test_a_resource_in_the_making_is_polled(tmp_path: Path) -> None:
    states = ["Creating", "Succeeded", "Succeeded"]

    def respond(method: str, url: str, body: bytes) -> Answer:
        state = "Accepted" if method == "PUT" else states.pop(0)
        return answer(201, {"properties": {"provisioningState": state}}, x_ms_retry_after_ms="20")

    session, _ = make_session(tmp_path, respond)
    made = await session.put("/r", "1", {})
    assert made["properties"]["provisioningState"] == "Succeeded"


async def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    answers = [
        answer(503, None, x_ms_retry_after_ms="20"),
        answer(429, None, x_ms_retry_after_ms="20"),
        answer(200, {}),
    ]
    session, _ = make_session(tmp_path, lambda *_: answers.pop(0))
    assert await session.get("/a", "1") == {}


async def test_a_server_that_stays_busy_is_an_error(tmp_path: Path) -> None:
    session, asked = make_session(tmp_path, lambda *_: answer(503, None, x_ms_retry_after_ms="20"))
    with pytest.raises(ApiFailure, match="did not say why"):
        await session.get("/a", "1")
    assert len(asked) == 4


async def test_a_subscription_is_found_by_name_or_id_without_regard_to_case(tmp_path: Path) -> None:
    known = {"value": [{"subscriptionId": "11111111-1111-1111-1111-111111111111", "displayName": "Production"}]}
    session, _ = make_session(tmp_path, lambda *_: answer(200, known))
    assert await session.find_subscription("PRODUCTION") == known["value"][0]["subscriptionId"]
    assert (
        await session.find_subscription("22222222-2222-2222-2222-22222222222A")
        == "22222222-2222-2222-2222-22222222222a"
    )
    assert await session.find_subscription(None) == "s"
    with pytest.raises(InputError, match="No subscription"):
        await session.find_subscription("Test")


async def test_without_a_chosen_subscription_there_is_a_remedy(tmp_path: Path) -> None:
    session, _ = make_session(tmp_path, lambda *_: answer(200, {}))
    session.profile = Profile(endpoint=ENDPOINT)
    with pytest.raises(InputError) as caught:
        await session.find_subscription(None)
    assert "account set" in caught.value.remedy


def test_without_a_login_there_is_no_session(tmp_path: Path) -> None:
    with pytest.raises(LoginNeeded):
        Session.open(ProfileFolder(tmp_path))
