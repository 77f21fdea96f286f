"""One HTTPS server that stands for all names of the vendor; run by `-m` with ADDRESS GOODS LOG CHAIN KEY.

GOODS is the folder with what it serves; each exchange leaves one JSON line in LOG.
"""

import json
import socketserver
import ssl
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

from worlds.vendor import files, registry, telemetry, vault, web_sockets
from worlds.vendor.exchange import NOT_FOUND, Answer, Request, Service

RELAY = ".servicebus.windows.net"


def services(goods: Path) -> Mapping[str, Service]:
    """Return what stands behind the ends of names."""
    blobs = registry.data_endpoint(goods / "image")
    return {
        RELAY: lambda _request: NOT_FOUND,
        ".ingest.monitor.azure.com": telemetry.collection_endpoint,
        ".ods.opinsights.azure.com": telemetry.workspace,
        ".control.monitor.azure.com": telemetry.control,
        ".monitoring.azure.com": telemetry.control,
        "management.azure.com": telemetry.control,
        vault.SIGN_IN: vault.sign_in,
        ".vault.azure.net": vault.vault,
        ".data.azurecr.io": blobs,
        ".data.mcr.microsoft.com": blobs,
        ".azurecr.io": registry.registry(goods / "image", "mine.eastus.data.azurecr.io"),
        "mcr.microsoft.com": registry.registry(goods / "image", "some.data.mcr.microsoft.com"),
        "packages.microsoft.com": files.folder(goods / "packages"),
        "dev.azure.com": files.repositories(goods / "git"),
    }


class Handler(BaseHTTPRequestHandler):
    """One connection: requests until the client ends it."""

    protocol_version = "HTTP/1.1"
    services: ClassVar[Mapping[str, Service]] = {}
    log_file: ClassVar[Path] = Path()

    def do_GET(self) -> None:
        request = Request.of(self.command, self.path, self.headers, self._body())
        if self.headers.get("Upgrade", "").lower() == "websocket" and request.host.endswith(RELAY):
            return self._web_socket(request)
        service = next((one for end, one in self.services.items() if request.host.endswith(end)), None)
        answer = service(request) if service is not None else NOT_FOUND
        self._note(request, answer.status)
        self._answer(answer)
        return None

    do_POST = do_GET  # noqa: N815 - the base class looks for these names
    do_PUT = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _chunk(self) -> bytes:
        blob = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return blob

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _web_socket(self, request: Request) -> None:
        self.send_response(101)
        accept = web_sockets.accept_of(self.headers["Sec-WebSocket-Key"])
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        self._note(request, 101)
        try:
            request.note.update(web_sockets.serve(self.rfile, self.wfile))
        except OSError as error:
            request.note["ended"] = type(error).__name__
        self._note(request, 0)

    def _note(self, request: Request, status: int) -> None:
        connection = self.connection
        assert isinstance(connection, ssl.SSLSocket)
        facts = {"host": request.host, "method": request.method, "path": request.path, "status": status}
        line = json.dumps({**facts, "peer": self.client_address[0], "tls": connection.version(), **request.note})
        # One write of one line, appended: lines of several threads do not mix.
        with self.log_file.open("a") as log:
            log.write(line + "\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the notes do."""


class VendorServer(socketserver.ThreadingTCPServer):
    """Takes connections, each in a thread of its own, which does the handshake too."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__((address, 443), Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, peer = super().get_request()
        connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out what clients do that go away: they have their own words on it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main() -> None:
    address, goods, log, chain, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    Handler.services = services(Path(goods))
    Handler.log_file = Path(log)
    VendorServer(address, context).serve_forever()


if __name__ == "__main__":
    main()
