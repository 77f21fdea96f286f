"""Users and passwords for enterprise proxies, from a file that others can't read.

    # a comment
    USER:PASSWORD                        for every proxy
    http://USER:PASSWORD@HOST[:PORT]     for this proxy; special characters as %XX

systemd's credentials (LoadCredential=proxy-credentials:…) are such a file too.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from arcgate.agent.paths import SHARED, AgentPaths
from arcgate.agent.platform import current
from arcgate.core.errors import InputError, StateError
from arcgate.core.urls import Url, parse_url
from arcgate.net.files import write_file

LARGEST = 64 * 1024
"""Bytes of such a file."""
SYSTEMD_FOLDER, SYSTEMD_NAME = "CREDENTIALS_DIRECTORY", "proxy-credentials"

_PAIR = re.compile(r"(?P<user>[^\s:]+(?: [^\s:]+)*):(?P<password>.+)\Z")


@dataclass(frozen=True, slots=True)
class ProxyCredentials:
    """What a file says; `given` by origin of a proxy, '' for all others."""

    given: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    def complete(self, proxy: Url) -> Url:
        """Return the proxy with user and password; its own ones stay."""
        if proxy.user or proxy.password:
            return proxy
        user, password = self.given.get(proxy.origin) or self.given.get("") or ("", "")
        return replace(proxy, user=user, password=password)


def credentials_file(paths: AgentPaths, setting: str, environment: Mapping[str, str]) -> Path:
    """Return the file that counts: the setting proxy.credentials, systemd's, or our own one. It may not exist."""
    if setting:
        return Path(setting)
    folder = environment.get(SYSTEMD_FOLDER, "")
    if folder and (Path(folder) / SYSTEMD_NAME).is_file():
        return Path(folder) / SYSTEMD_NAME
    return paths.proxy_credentials


def read_credentials(file: Path, *, must_exist: bool) -> ProxyCredentials:
    """Return what the file says; raises StateError (PROXY_CREDENTIALS_UNUSABLE), which never holds its content."""
    try:
        if not must_exist and not file.exists():
            return ProxyCredentials()
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode) or (os.name == "posix" and mode & stat.S_IRWXO):
            raise _unusable(file, "others can read it, or it is no regular file", f"Run: chmod 600 {file}")
        content = file.read_bytes()
    except PermissionError:
        if not must_exist:
            return ProxyCredentials()  # an ordinary user's `azcmagent show` and `route` do without
        raise _unusable(file, "it can't be read by this user", "Let the agent's services read it.") from None
    except OSError as error:
        raise _unusable(file, error.strerror or "it can't be read", "Correct the setting proxy.credentials.") from None
    if len(content) > LARGEST:
        raise _unusable(file, "it is too large", "Keep to a line for each proxy.")
    return ProxyCredentials(_parse(file, content))


def store_credentials(file: Path, proxies: Iterable[Url]) -> None:
    """Write the users and passwords of the proxies' URLs, for the agent's services alone."""
    lines = [
        f"{proxy.scheme}://{quote(proxy.user, safe='')}:{quote(proxy.password, safe='')}@{proxy.target.authority}\n"
        for proxy in proxies
        if proxy.user or proxy.password
    ]
    write_file(file, "# Written by azcmagent config set proxy.url.\n" + "".join(lines), SHARED)
    current().share(file, SHARED)


def _parse(file: Path, content: bytes) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise _unusable(file, "it is not UTF-8", "Write it as UTF-8.") from None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if re.match(r"https?://", text):
            origin, pair = _of_proxy(file, number, text)
            found[origin] = pair
        elif match := _PAIR.match(text):
            found[""] = match["user"], match["password"]
        else:
            raise _unusable(file, f"line {number} is no USER:PASSWORD", "Correct the line.")
    return found


def _of_proxy(file: Path, number: int, text: str) -> tuple[str, tuple[str, str]]:
    try:
        url = parse_url(text)
    except InputError:
        raise _unusable(file, f"line {number} is no proxy's URL", "Write http://USER:PASSWORD@HOST:PORT.") from None
    return url.origin, (url.user, url.password)


def _unusable(file: Path, cause: str, remedy: str) -> StateError:
    return StateError(
        "PROXY_CREDENTIALS_UNUSABLE", f"The proxy's credentials in {file} can't be used.", cause=cause, remedy=remedy
    )
