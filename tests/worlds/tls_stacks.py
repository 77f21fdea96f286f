"""Programs that speak TLS by libraries of their own: OpenSSL, GnuTLS and rustls, each as client and as server."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from worlds import rustls_peer
from worlds.authority import Authority
from worlds.fake_gateway import closed_port
from worlds.waiting import until

STACKS = ("openssl", "gnutls", "rustls")
NAME = "inner.example.com"
PAYLOAD = "payload.bin"
_GNUTLS_VERSION = "NORMAL:-VERS-ALL:+VERS-TLS{}"


@dataclass(frozen=True)
class Inside:
    """Names, certificates and the payload of the sessions inside the tunnels."""

    folder: Path
    authority: Authority
    chain: Path
    key: Path

    @property
    def authorities(self) -> str:
        return str(self.authority.file)

    @property
    def errors(self) -> str:
        """What the programs have written to standard error."""
        return (self.folder / "errors").read_text(errors="replace")

    @property
    def payload(self) -> bytes:
        return (self.folder / PAYLOAD).read_bytes()


def make_inside(folder: Path, authority: Authority, payload: bytes) -> Inside:
    """Return certificates and a payload in a folder."""
    chain, key = authority.issue(NAME)
    (folder / PAYLOAD).write_bytes(payload)
    return Inside(folder, authority, chain, key)


def server_command(stack: str, port: int, inside: Inside, *options: str, client_certificate: bool = False) -> list[str]:
    """Return a server that answers a GET by the payload, and asks for a client certificate if it must."""
    if stack == "openssl":
        proof = ["-Verify", "1", "-verify_return_error", "-CAfile", inside.authorities] if client_certificate else []
        named = ("-accept", f"127.0.0.1:{port}", "-cert", str(inside.chain), "-key", str(inside.key))
        return ["openssl", "s_server", *named, "-quiet", *(options or ("-WWW",)), *proof]
    if stack == "gnutls":
        wanted = ("--require-client-cert", "--verify-client-cert") if client_certificate else ()
        place = ("--port", str(port), "--x509certfile", str(inside.chain), "--x509keyfile", str(inside.key))
        content = ("--http", "--httpdata", str(inside.folder / PAYLOAD), "--quiet", "--x509cafile", inside.authorities)
        return ["gnutls-serv", *place, *content, *wanted, *options]
    files = (str(inside.chain), str(inside.key), str(inside.folder / PAYLOAD))
    trusted = (inside.authorities,) if client_certificate else ()
    return [sys.executable, rustls_peer.__file__, "serve", str(port), *files, *trusted]


def client_command(
    stack: str, port: int, inside: Inside, *options: str, version: str = "1.3", client_certificate: bool = False
) -> list[str]:
    """Return a client that verifies the server, sends its standard input, and prints what comes."""
    size = str(len(inside.payload))
    own = (str(inside.chain), str(inside.key)) if client_certificate else ()
    if stack == "openssl":
        shown = ("-cert", own[0], "-key", own[1]) if own else ()
        server = ("-connect", f"127.0.0.1:{port}", "-servername", NAME, "-CAfile", inside.authorities)
        checks = ("-verify_return_error", "-verify_hostname", NAME, f"-tls{version.replace('.', '_')}")
        return ["openssl", "s_client", *server, *checks, *(options or ("-quiet",)), *shown]
    if stack == "gnutls":
        shown = ("--x509certfile", own[0], "--x509keyfile", own[1]) if own else ()
        place = ("--port", str(port), "--sni-hostname", NAME, "--verify-hostname", NAME, "127.0.0.1")
        chosen = options or ("--priority", _GNUTLS_VERSION.format(version))
        return ["gnutls-cli", "--x509cafile", inside.authorities, "--logfile=/dev/null", *chosen, *shown, *place]
    return [sys.executable, rustls_peer.__file__, "fetch", str(port), NAME, inside.authorities, version, size, *own]


@asynccontextmanager
async def running(command: list[str], folder: Path) -> AsyncIterator[Process]:
    """Run a program with pipes, and kill it at the end."""
    with (folder / "errors").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdin=PIPE, stdout=PIPE, stderr=errors)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@asynccontextmanager
async def tls_server(
    stack: str, inside: Inside, *options: str, client_certificate: bool = False
) -> AsyncIterator[tuple[int, Process]]:
    """Run a server; gives its port once it listens."""
    port = closed_port()
    command = server_command(stack, port, inside, *options, client_certificate=client_certificate)
    async with running(command, inside.folder) as process:
        # A connection on trial would be the one that some of them serve.
        await until(lambda: _listens(port) or process.returncode is not None, 20, what=f"{stack} listens")
        yield port, process


def _listens(port: int) -> bool:
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    lines = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in lines)
