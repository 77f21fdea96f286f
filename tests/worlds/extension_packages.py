"""Packages of extensions for tests: a handler that is a shell script, signed by a publisher, on a host in memory."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from arcgate.agent.extensions.package_source import PackageSource
from arcgate.core.extension_packages import PackageDescription
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.tls import client_context
from arcgate.wire.extension_signature import sign_package

GOOD = """
echo "$1 $AZURE_GUEST_AGENT_EXTENSION_VERSION $ConfigSequenceNumber" >>"$HERE/../calls"
"""
"""Notes each command, and does nothing."""
STATUS = """
status() {
    printf '[{"version": "1.0", "status": {"status": "%s", "code": %s, "formattedMessage": {"message": "%s"}}}]' \\
        "$1" "$2" "$3" >"$HERE/status/$ConfigSequenceNumber.status"
}
"""
COMMANDS = ("install", "enable", "update", "disable", "uninstall")


def manifest(**changes: Any) -> str:
    """Return a HandlerManifest.json whose commands are all bin/handler."""
    commands = {f"{command}Command": f"bin/handler {command}" for command in COMMANDS}
    return json.dumps([{"version": 1.0, "handlerManifest": {**commands, "reportHeartbeat": False, **changes}}])


def handler_files(script: str, **changes: Any) -> dict[str, str]:
    """Return the files of a handler; the script has HERE, STATUS' function and the command as $1."""
    text = f'#!/bin/sh\nHERE=$(cd "$(dirname "$0")/.." && pwd)\n{STATUS}{GOOD}{script}\n'
    return {"HandlerManifest.json": manifest(**changes), "bin/handler": text}


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """Return a zip whose files below bin are programs."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = (0o100755 if name.startswith("bin/") else 0o100644) << 16
            archive.writestr(entry, text)
    return raw.getvalue()


@dataclass
class Publisher:
    """Signs packages, and puts them into a folder as operators do."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    name: str = "Contoso"

    @property
    def public(self) -> str:
        """The key for agents."""
        raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(raw).decode("ascii")

    @property
    def pem(self) -> bytes:
        """The key for the server."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(self, content: bytes, version: str, type_: str = "Backup") -> tuple[PackageDescription, dict[str, str]]:
        """Return description and signed object of a package."""
        digest = hashlib.sha256(content).hexdigest()
        description = PackageDescription(self.name, type_, version, "any", len(content), digest)
        return description, sign_package(description, self.key).to_json()

    def put(self, folder: Path, content: bytes, version: str, type_: str = "Backup") -> None:
        """Put a package, its description and our key into a folder."""
        description, signed = self.signed(content, version, type_)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / description.file_name).write_bytes(content)
        (folder / f"{description.file_name}.json").write_text(json.dumps(signed))
        (folder / "publisher.pem").write_bytes(self.pem)


@dataclass(frozen=True, slots=True)
class MemoryHost(HttpClient):
    """A packages host without a network."""

    files: dict[str, bytes] = field(default_factory=dict)
    listed: list[dict[str, str]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def request(self, method: str, url: str, **_: Any) -> Answer:
        """See HttpClient."""
        name = url.rpartition("/")[2]
        self.requests.append(name)
        if name == "index.json":
            return Answer(200, {}, json.dumps({"packages": self.listed}).encode())
        return Answer(200, {}, self.files[name]) if name in self.files else Answer(404, {}, b"")


@dataclass
class Host:
    """A host of packages with one publisher, whom agents trust."""

    publisher: Publisher = field(default_factory=Publisher)
    http: MemoryHost = field(init=False)

    def __post_init__(self) -> None:
        """Begin without packages."""

        async def no_stream(_target: object) -> Any:
            raise AssertionError("nothing goes over a network")

        self.http = MemoryHost(no_stream, client_context())

    def offer(self, version: str, script: str = "", type_: str = "Backup", **changes: Any) -> PackageDescription:
        """Offer a handler of that version."""
        content = packed(handler_files(script, **changes))
        description, signed = self.publisher.signed(content, version, type_)
        self.http.files[description.file_name] = content
        self.http.listed.append(signed)
        return description

    def source(self) -> PackageSource:
        """Return the source that extd has."""

        async def keys() -> list[str]:
            return [self.publisher.public]

        return PackageSource(self.http, "https://packages.test", keys, "x86_64")
