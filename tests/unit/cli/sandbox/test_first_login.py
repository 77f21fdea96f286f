import ssl
from urllib.parse import parse_qs

import pytest

from arcgate.cli.sandbox.first_login import LoginPage
from arcgate.core.errors import StateError
from arcgate.core.names import Target
from arcgate.net.http_client import Answer, Headers, HttpClient, current_headers
from arcgate.net.streams import ByteStream

pytestmark = pytest.mark.anyio


async def no_stream(target: Target) -> ByteStream:
    raise AssertionError(f"nothing may be dialled, not {target}")


class PageClient(HttpClient):
    """A login page that numbers its steps."""

    __slots__ = ("refuses_at", "seen")

    seen: list[tuple[str, str, dict[str, list[str]]]]
    refuses_at: int

    def __init__(self, refuses_at: int = 99) -> None:
        super().__init__(no_stream, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        object.__setattr__(self, "seen", [])
        object.__setattr__(self, "refuses_at", refuses_at)

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
        self.seen.append((method, current_headers(headers).get("Cookie", ""), parse_qs(body.decode())))
        step = len(self.seen)
        status = 400 if step == self.refuses_at else 200
        page = f'<input type="hidden" name="token" value="token-{step}">'.encode()
        return Answer(status, {"set-cookie": f"session={step}; Path=/; Secure"}, page)


async def test_it_walks_through_the_page_with_cookie_and_token() -> None:
    client = PageClient()
    await LoginPage(client, "https://login.example/devicelogin").approve("AAA", "me", "hush")
    assert client.seen == [
        ("GET", "", {}),
        ("POST", "session=1", {"token": ["token-1"], "step": ["code"], "code": ["AAA"]}),
        ("POST", "session=2", {"token": ["token-2"], "step": ["password"], "user": ["me"], "password": ["hush"]}),
        ("POST", "session=3", {"token": ["token-3"], "step": ["answer"], "answer": ["confirm"]}),
    ]


async def test_a_page_that_refuses_ends_it() -> None:
    with pytest.raises(StateError, match="400"):
        await LoginPage(PageClient(3), "https://login.example/devicelogin").approve("AAA", "me", "hush")
