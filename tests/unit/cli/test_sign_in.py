import json
import ssl
from typing import Any
from urllib.parse import parse_qs

import pytest

from arcgate.cli.failures import ApiFailure
from arcgate.cli.sign_in import Issuer, discover_cloud, discover_issuer, sign_in_with_device_code, sign_in_with_secret
from arcgate.core.errors import InputError, StateError
from arcgate.core.names import Target
from arcgate.net.http_client import Answer, Headers, HttpClient
from arcgate.net.streams import ByteStream

pytestmark = pytest.mark.anyio

ISSUER = Issuer("https://login.example/token", "https://login.example/devicecode")
AUDIENCE = "https://arm.example/"


async def no_stream(target: Target) -> ByteStream:
    raise AssertionError(f"nothing may be dialled, not {target}")


class QueueClient(HttpClient):
    """Gives answers in order, and keeps the forms that were sent."""

    __slots__ = ("answers", "forms")

    def __init__(self, *answers: tuple[int, Any]) -> None:
        super().__init__(no_stream, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        object.__setattr__(self, "answers", list(answers))
        object.__setattr__(self, "forms", [])

    answers: list[tuple[int, Any]]
    forms: list[dict[str, list[str]]]

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
        self.forms.append(parse_qs(body.decode()))
        status, document = self.answers.pop(0)
        return Answer(status, {}, document if isinstance(document, bytes) else json.dumps(document).encode())


class Clock:
    """Time that passes by waiting alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def wait(self, seconds: float) -> None:
        self.now += seconds


STARTED = {"device_code": "device", "user_code": "AAA-BBB", "message": "Enter it.", "interval": 2, "expires_in": 10}
PENDING = (400, {"error": "authorization_pending"})


async def sign_in(client: QueueClient, clock: Clock) -> tuple[Any, list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    tokens = await sign_in_with_device_code(
        client, ISSUER, AUDIENCE, lambda message, code: told.append((message, code)), clock, clock.wait
    )
    return tokens, told


async def test_a_device_code_is_told_and_polled_until_it_is_approved() -> None:
    client, clock = (
        QueueClient((200, STARTED), PENDING, PENDING, (200, {"access_token": "t", "refresh_token": "r"})),
        Clock(),
    )
    tokens, told = await sign_in(client, clock)
    assert told == [("Enter it.", "AAA-BBB")]
    assert (tokens.access_token, tokens.refresh_token, clock.now) == ("t", "r", 6)
    assert client.forms[0]["scope"] == ["https://arm.example//.default offline_access openid profile"]
    assert client.forms[1]["device_code"] == ["device"]


async def test_polling_slows_down_when_asked_to() -> None:
    client, clock = QueueClient((200, STARTED), (400, {"error": "slow_down"}), (200, {"access_token": "t"})), Clock()
    await sign_in(client, clock)
    assert clock.now == 2 + 7


@pytest.mark.parametrize("code", ["authorization_declined", "expired_token"])
async def test_a_declined_or_expired_code_is_an_error(code: str) -> None:
    with pytest.raises(ApiFailure) as caught:
        await sign_in(QueueClient((200, STARTED), (400, {"error": code, "error_description": "No."})), Clock())
    assert caught.value.code == code


async def test_a_code_that_nobody_approves_ends_by_itself() -> None:
    with pytest.raises(ApiFailure) as caught:
        await sign_in(QueueClient((200, STARTED), *([PENDING] * 5)), Clock())
    assert caught.value.code == "expired_token"


async def test_a_wrong_secret_is_told_in_the_services_words() -> None:
    client = QueueClient((401, {"error": "invalid_client", "error_description": "AADSTS7000215: No."}))
    with pytest.raises(ApiFailure, match="AADSTS7000215") as caught:
        await sign_in_with_secret(client, ISSUER, AUDIENCE, "id", "hush", 0)
    assert "hush" not in caught.value.one_line()


@pytest.mark.parametrize("document", [{}, {"access_token": ""}, {"access_token": 5}])
async def test_an_answer_without_a_token_is_an_error(document: Any) -> None:
    with pytest.raises(StateError, match="no token"):
        await sign_in_with_secret(QueueClient((200, document)), ISSUER, AUDIENCE, "id", "hush", 0)


METADATA = {"authentication": {"loginEndpoint": "https://login.example/", "audiences": [AUDIENCE], "tenant": "t"}}


async def test_a_cloud_tells_where_to_sign_in() -> None:
    cloud = await discover_cloud(QueueClient((200, METADATA)), "https://arm.example")
    assert (cloud.login, cloud.audience, cloud.tenant) == ("https://login.example", AUDIENCE, "t")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>"),
        (200, []),
        (200, {}),
        (404, b""),
        (200, {"authentication": {"loginEndpoint": "http://login.example", "audiences": ["x"]}}),
        (200, {"authentication": {"loginEndpoint": "https://login.example", "audiences": []}}),
        (200, {"authentication": []}),
    ],
)
async def test_what_is_no_cloud_is_told(answer: tuple[int, Any]) -> None:
    with pytest.raises(StateError, match="does not answer like a resource manager"):
        await discover_cloud(QueueClient(answer), "https://arm.example")


async def test_an_unknown_tenant_is_told_in_the_services_words() -> None:
    with pytest.raises(ApiFailure, match="no such tenant"):
        await discover_issuer(
            QueueClient((400, {"error": "invalid_tenant", "error_description": "no such tenant"})),
            "https://l.example",
            "x",
        )


async def test_a_token_endpoint_without_tls_gets_no_secret() -> None:
    with pytest.raises((StateError, InputError)):
        await discover_issuer(
            QueueClient((200, {"token_endpoint": "http://login.example/token"})), "https://l.example", "x"
        )
