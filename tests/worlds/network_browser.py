"""A person at a browser: walks through the page that approves a device code, with curl's cookies."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from worlds.network import Host

_TOKEN = re.compile(r'name="token" value="(?P<token>[A-Za-z0-9_-]+)"')


@dataclass
class Browser:
    """Somebody's browser, on a host that reaches the login page."""

    host: Host
    page: str
    """URL of the device login page."""
    ca: Path
    _token: str = field(default="", repr=False)

    def approve(self, code: str, user: str, password: str) -> None:
        """Enter the code, sign in, confirm; raises AssertionError at a page that isn't the expected one."""
        self._step("Enter the code")
        self._step("Sign in", step="code", code=code)
        self._step("Let it sign in as you", step="password", user=user, password=password)
        self._step("Signed in", step="answer", answer="confirm")

    def _step(self, expected: str, **form: str) -> None:
        cookies = str(self.host.folder / "cookies")
        values = {"token": self._token, **form} if form else {}
        sent = [part for name, value in values.items() for part in ("--data-urlencode", f"{name}={value}")]
        got = self.host.curl("--cacert", str(self.ca), "--cookie", cookies, "--cookie-jar", cookies, *sent, self.page)
        page = got.body.decode()
        assert expected in page, f"{self.page} answered {got.status} {got.errors}: {page}"
        found = _TOKEN.search(page)
        self._token = found["token"] if found else ""
