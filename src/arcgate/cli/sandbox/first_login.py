"""The first login of a sandbox: the initial admin approves a device code on the login page, as in a browser."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

from arcgate.cli.login_commands import choose_subscription, log_in_user
from arcgate.cli.outbound import make_client
from arcgate.cli.profile import Profile, ProfileFolder
from arcgate.cli.session import Session
from arcgate.cli.sign_in import discover_cloud
from arcgate.core.errors import StateError
from arcgate.net.http_client import Answer, HttpClient

_TOKEN = re.compile(r'name="token" value="(?P<token>[^"]{1,200})"')


async def log_in_initial_admin(folder: ProfileFolder, endpoint: str, address: str, state: Path) -> Session:
    """Return a session of the initial admin, stored in the folder; raises ArcgateError."""
    profile = Profile(endpoint=endpoint, address=address, ca=(state / "ca.pem").read_text(encoding="ascii"))
    admin = json.loads((state / "secrets" / "initial-admin.json").read_bytes())
    client = make_client(profile.address, profile.ca)
    cloud = await discover_cloud(client, endpoint)
    profile = replace(profile, login=cloud.login, audience=cloud.audience)
    page = LoginPage(client, f"{endpoint}/devicelogin")
    codes: list[str] = []

    async def approve(_interval: float) -> None:
        """Approve in place of waiting for somebody to do so."""
        if codes:
            await page.approve(codes.pop(), admin["user"], admin["password"])

    profile, tokens = await log_in_user(
        folder, profile, client, cloud, admin["tenantId"], lambda _message, code: codes.append(code), approve
    )
    session = Session(folder, profile, tokens, client)
    await choose_subscription(session)
    return session


class LoginPage:
    """Walks through the page /devicelogin."""

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self._url = url
        self._cookie = ""
        self._token = ""

    async def approve(self, code: str, user: str, password: str) -> None:
        """Approve the code as the user; raises StateError (LOGIN_FAILED)."""
        self._take(await self._client.request("GET", self._url))
        await self._send(step="code", code=code)
        await self._send(step="password", user=user, password=password)
        await self._send(step="answer", answer="confirm")

    async def _send(self, **fields: str) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": self._cookie}
        body = urlencode({"token": self._token, **fields}).encode()
        self._take(await self._client.request("POST", self._url, headers=headers, body=body))

    def _take(self, answer: Answer) -> None:
        if not answer.is_success:
            raise StateError("LOGIN_FAILED", f"The login page answered {answer.status}.")
        self._cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        found = _TOKEN.search(answer.body.decode("utf-8", "replace"))
        self._token = found["token"] if found else ""
