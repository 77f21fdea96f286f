"""Cloud definitions: which names a cloud answers by, and whom to trust for them.

One JSON file for each cloud in clouds.d, made by the installer or an admin; keys in docs/reference/protocols.md.
"""

import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arcgate.agent.errors import AzcmError
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import read_goal
from arcgate.core.errors import ArcgateError, InputError
from arcgate.core.names import HostName, Target, parse_host_name, parse_target
from arcgate.core.patterns import EndpointPattern, parse_pattern
from arcgate.core.urls import Url, parse_url
from arcgate.net.files import read_json
from arcgate.wire.extension_signature import read_keys

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud. URLs are without a trailing slash; `ca_pem` is empty when the system's authorities are enough."""

    name: str
    domain: HostName
    resource_manager: str
    login: str
    his: str
    packages: str
    ca_pem: str = ""
    front: Target | None = None
    """The gateway to use before the machine has one of its own."""
    address: Target | None = None
    """Dialled in place of the front's own name."""
    package_keys: tuple[str, ...] = ()
    """Public keys (base64) that must have signed the list of packages; empty where the cloud signs none."""

    @property
    def control_hosts(self) -> tuple[EndpointPattern, ...]:
        """The patterns of the control plane's own names, with the ports of the cloud's URLs."""
        packages = _port(self.packages)
        return tuple(
            parse_pattern(f"{host}:{port}")
            for host, port in (
                (f"management.{self.domain}", _port(self.resource_manager)),
                (f"login.{self.domain}", _port(self.login)),
                (f"*.his.{self.domain}", _port(self.his)),
                (f"packages.{self.domain}", packages),
                (f"download.{self.domain}", packages),
            )
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs that an agent needs."""
        return (self.resource_manager, self.login, self.his, self.packages)


def load_cloud(paths: AgentPaths, name: str = "") -> Cloud:
    """Return the cloud of that name (any case), or the only one there is; raises AzcmError 75.

    It trusts the authorities that the machine's goal announces, too: the cloud's next root comes by it.
    """
    files = _files(paths.clouds)
    if not files:
        raise AzcmError(
            75,
            f"There is no cloud definition in {paths.clouds}.",
            remedy="Run the installer of your cloud again, or put its JSON file into this folder.",
        )
    clouds = {path: parse_cloud(path) for path in files}
    found = [cloud for cloud in clouds.values() if not name or cloud.name.lower() == name.lower()]
    if len(found) == 1:
        return replace(found[0], ca_pem=found[0].ca_pem + _announced(paths))
    names = ", ".join(sorted(cloud.name for cloud in clouds.values()))
    if name and not found:
        raise AzcmError(75, f"There is no cloud {name[:64]!r}.", remedy=f"Known in {paths.clouds}: {names}.")
    raise AzcmError(75, "There is more than one cloud to choose from.", remedy=f"Say --cloud with one of: {names}.")


def _announced(paths: AgentPaths) -> str:
    with contextlib.suppress(ArcgateError):  # a damaged goal is fetched again, and announces nothing meanwhile
        goal = read_goal(paths)
        return goal.authorities if goal is not None else ""
    return ""


def parse_cloud(path: Path) -> Cloud:
    """Return the cloud that a file defines; raises AzcmError 75 naming file and key."""
    try:
        document = read_json(path)
    except ArcgateError as error:
        raise _invalid(path, error.cause) from None
    if not isinstance(document, dict):
        raise _invalid(path, "it holds no JSON object")
    reader = _Reader(path, document)
    cloud = Cloud(
        name=reader.name(),
        domain=reader.domain(),
        resource_manager=reader.url("resourceManager"),
        login=reader.url("login"),
        his=reader.url("his"),
        packages=reader.url("packages"),
        ca_pem=reader.authorities(),
        front=reader.target("front"),
        address=reader.target("address"),
        package_keys=reader.package_keys(),
    )
    if cloud.address is not None and cloud.front is None:
        raise _invalid(path, "address: it goes with a front only")
    return cloud


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    except OSError:
        return []


class _Reader:
    """Takes the keys of one file; every complaint names file and key."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self._path = path
        self._document = document

    def text(self, key: str, *, is_optional: bool = False) -> str:
        value = self._document.get(key, "")
        if not isinstance(value, str):
            raise _invalid(self._path, f"{key}: a text is needed")
        if not value and not is_optional:
            raise _invalid(self._path, f"{key}: it is missing")
        return value

    def name(self) -> str:
        name = self.text("name")
        if not _NAME.match(name):
            raise _invalid(self._path, "name: letters, digits, dots, hyphens and underscores are allowed")
        return name

    def domain(self) -> HostName:
        try:
            return parse_host_name(self.text("domain"))
        except InputError as error:
            raise _invalid(self._path, f"domain: {error.sentence} {error.cause}") from None

    def url(self, key: str) -> str:
        try:
            url: Url = parse_url(self.text(key))
        except InputError as error:
            raise _invalid(self._path, f"{key}: {error.sentence} {error.cause}") from None
        if not url.is_tls or url.user:
            raise _invalid(self._path, f"{key}: an https URL without user and password is needed")
        return str(url).rstrip("/")

    def target(self, key: str) -> Target | None:
        text = self.text(key, is_optional=True)
        try:
            return parse_target(text, 443) if text else None
        except InputError as error:
            raise _invalid(self._path, f"{key}: {error.sentence} {error.cause}") from None

    def package_keys(self) -> tuple[str, ...]:
        keys = self._document.get("packageKeys", [])
        if not isinstance(keys, list) or not all(isinstance(one, str) for one in keys):
            raise _invalid(self._path, "packageKeys: a list of texts is needed")
        try:
            read_keys(keys)
        except InputError as error:
            raise _invalid(self._path, f"packageKeys: {error.remedy}") from None
        return tuple(keys)

    def authorities(self) -> str:
        pem = self.text("ca", is_optional=True)
        try:
            if pem:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
        except (ssl.SSLError, ValueError) as error:
            raise _invalid(self._path, f"ca: it holds no certificates in PEM ({error})") from None
        return pem


def _port(url: str) -> int:
    return parse_url(url).target.port


def _invalid(path: Path, cause: str) -> AzcmError:
    return AzcmError(
        75,
        f"The cloud definition {path} can't be used.",
        cause=cause,
        remedy="Correct the file, or run the installer of your cloud again.",
    )
