"""A control plane as a process of its own, with TLS on loopback: what clients that nobody here wrote talk to."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from arcgate.core.configuration import Configuration

ARM = "2026-07-15"
GROUPS = "2024-11-01"
PATIENCE = 20.0
"""Seconds until an answer that should come is taken for one that never will."""


@dataclass(frozen=True)
class HttpReply:
    """An answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.json()["error"]["code"])


@dataclass
class CloudProcess:
    """The running process, and requests to it."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    first: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def ca(self) -> Path:
        return self.folder / "state" / "ca.pem"

    @property
    def subscription(self) -> str:
        return f"/subscriptions/{self.first['subscriptionId']}"

    @property
    def tenant(self) -> str:
        return self.first["tenantId"]

    def log(self) -> str:
        """What the process has written to its log."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def connection(self) -> http.client.HTTPSConnection:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.load_verify_locations(self.ca)
        return http.client.HTTPSConnection("localhost", self.port, context=trust, timeout=PATIENCE)

    def request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> HttpReply:
        """Return the answer to a request whose target goes out as it stands, on a connection of its own."""
        with closing(self.connection()) as connection:
            return exchange(connection, method, target, headers=headers or {}, body=body)

    def arm(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        token: str = "",
        version: str = ARM,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> HttpReply:
        """Call ARM as the first admin, or as whom the token is of; a path without slash lies below the subscription."""
        place = path if path.startswith("/") else f"{self.subscription}/{path}"
        target = f"{place}?{urlencode({'api-version': version, **(query or {})}, safe='$')}"
        fields = {"Authorization": f"Bearer {token or self.admin_token()}", **(headers or {})}
        body = None
        if document is not None:
            body = json.dumps(document).encode()
            fields.setdefault("Content-Type", "application/json")
        return self.request(method, target, headers=fields, body=body)

    def form(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> HttpReply:
        """Send a form."""
        kind = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.request("POST", path, headers=kind, body=urlencode(fields).encode())

    def admin_token(self) -> str:
        """Return an access token of the first admin, got by a device code."""
        if "admin" not in self.tokens:
            self.tokens["admin"] = self.sign_in()["access_token"]
        return self.tokens["admin"]

    def sign_in(self, client_id: str = "arcgate-cli") -> dict[str, Any]:
        """Return the token answer of a device-code sign-in of the first admin."""
        path = f"/{self.tenant}/oauth2/v2.0"
        scope = f"{self.base}//.default offline_access openid profile"
        begun = self.form(f"{path}/devicecode", {"client_id": client_id, "scope": scope}).json()
        self.approve(begun["user_code"])
        fields = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "client_id": client_id,
            "device_code": begun["device_code"],
        }
        reply = self.form(f"{path}/token", fields)
        assert reply.status == 200, reply.body
        document: dict[str, Any] = reply.json()
        return document

    def approve(self, code: str, answer: str = "confirm") -> str:
        """Take the steps of the page for device codes as a browser would, and return the last page."""
        page = self.request("GET", f"/devicelogin?user_code={code}")
        steps = (
            {"step": "code", "code": code},
            {"step": "password", "user": self.first["user"], "password": self.first["password"]},
            {"step": "answer", "answer": answer},
        )
        for step in steps:
            cookie = page.headers["set-cookie"].split(";", 1)[0]
            token = re.search(r'name="token" value="([^"]+)"', page.body.decode())
            assert token is not None, page.body
            page = self.form("/devicelogin", {**step, "token": token[1]}, {"Cookie": cookie})
            assert page.status == 200, page.body
        return page.body.decode()

    def client_token(self, client_id: str, secret: str) -> str:
        """Return an access token of a service principal."""
        fields = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
            "scope": f"{self.base}//.default",
        }
        reply = self.form(f"/{self.tenant}/oauth2/v2.0/token", fields)
        assert reply.status == 200, reply.body
        return str(reply.json()["access_token"])

    def principal(self, role: str, scope: str = "", **more: str) -> dict[str, Any]:
        """Make a service principal with a role at a scope (default: the subscription)."""
        body = {"displayName": f"{role} of a test", "role": role, "scope": scope or self.subscription, **more}
        path = f"/tenants/{self.tenant}/providers/Arcgate.Network/servicePrincipals"
        reply = self.arm("POST", path, body, version="2026-11-01")
        assert reply.status == 201, reply.body
        made: dict[str, Any] = reply.json()
        return made

    def group(self) -> str:
        """Make a resource group of a new name, and return the name."""
        name = f"group-{uuid.uuid4().hex[:8]}"
        reply = self.arm("PUT", f"resourceGroups/{name}", {"location": "eastus"}, version=GROUPS)
        assert reply.status == 201, reply.body
        return name


def exchange(
    connection: http.client.HTTPSConnection,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> HttpReply:
    """Return the answer to a request on a connection, which is opened anew when it was closed."""
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None and "content-length" not in {name.lower() for name in headers}:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    fields = {name.lower(): value for name, value in answer.getheaders()}
    return HttpReply(answer.status, fields, answer.read())


@contextmanager
def cloud_process(folder: Path, **settings: Any) -> Iterator[CloudProcess]:
    """Yield a control plane over a new state folder, started as its own process and ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        port = listener.getsockname()[1]
        cloud = {"name": "Arcgate", "extra_names": ["localhost"], "public_port": port}
        configuration = Configuration.model_validate({"state_dir": folder / "state", "cloud": cloud, **settings})
        file = folder / "configuration.json"
        file.write_text(configuration.model_dump_json(), encoding="utf-8")
        reading, writing = os.pipe()
        command = [sys.executable, "-W", "error", "-m", "arcgate.control", "--configuration", str(file)]
        command += ["--listen-fd", str(listener.fileno()), "--ready-fd", str(writing)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, pass_fds=(listener.fileno(), writing), stderr=log)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.readline(), (folder / "log").read_text()
        first = json.loads((folder / "state" / "secrets" / "initial-admin.json").read_text())
        yield CloudProcess(process, port, folder, first)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE)
