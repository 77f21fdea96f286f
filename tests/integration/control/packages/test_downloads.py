"""The installer, run for real against a TLS server on loopback; and what the download routes answer."""

import asyncio
import hashlib
import importlib.util
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from arcgate.cli.main import arcgate
from arcgate.control import packages
from arcgate.control.authority.server_certificate import server_certificate_file, server_names
from arcgate.control.packages import shelf
from arcgate.control.packages.payload import build_archive, this_package
from arcgate.core.errors import InputError
from arcgate.wire.extension_signature import key_text
from arcgate.wire.package_index import require_signed, sign_index
from worlds.asgi import ask
from worlds.control_services import ControlServices, control_services
from worlds.tls_server import free_socket, served

PYTHON = Path(sys.executable).resolve()
"""The interpreter that the package is for; the system's own may be another."""

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


@pytest.fixture(scope="module", autouse=True)
def one_archive() -> Iterator[None]:
    """Build the archive of what runs here once: it is the same each time, which its own tests show."""
    archive = build_archive()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shelf, "build_archive", lambda: archive)
        yield


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[ControlServices]:
    async with control_services(tmp_path / "state") as opened:
        yield opened


@pytest.fixture
def app(services: ControlServices) -> Starlette:
    return services.app(*packages.routes(services.context))


def embedded_cloud(script: bytes) -> dict[str, Any]:
    lines = script.decode().splitlines()
    return dict(json.loads(lines[lines.index("END_OF_CLOUD") - 1]))


async def test_the_installer_leads_through_the_gateway_that_it_came_by(
    services: ControlServices, app: Starlette
) -> None:
    await services.add_gateway(prefix="abc")
    reply = await ask(app, "GET", "/azcmagent-linux", headers={"Arcgate-Gateway-Name": "ABC.gw.arcgate.test"})
    assert embedded_cloud(reply.body)["front"] == "abc.gw.arcgate.test:443"
    assert b"BASE_URL=https://abc.gw.arcgate.test\n" in reply.body


@pytest.mark.parametrize("name", ["nobody.gw.arcgate.test", "abc.gw.evil.test", "abc", "$(id).gw.arcgate.test", "'"])
async def test_a_gateway_that_does_not_exist_is_not_believed(
    services: ControlServices, app: Starlette, name: str
) -> None:
    await services.add_gateway(prefix="abc")
    reply = await ask(app, "GET", "/azcmagent-linux", headers={"Arcgate-Gateway-Name": name, "Host": "evil.test"})
    assert embedded_cloud(reply.body)["front"] == ""
    assert b"BASE_URL=https://packages.arcgate.test\n" in reply.body
    assert b"evil" not in reply.body


async def test_the_authorities_are_those_that_sign_our_servers(services: ControlServices, app: Starlette) -> None:
    assert (await ask(app, "GET", "/ca.pem")).body.decode() == services.context.authority.ca_pem


async def test_the_package_is_given_with_its_checksum(app: Starlette) -> None:
    name = this_package().file_name
    archive = await ask(app, "GET", f"/packages/azcmagent/{name}")
    checksum = await ask(app, "GET", f"/packages/azcmagent/{name}.sha256")
    assert checksum.body.decode() == f"{hashlib.sha256(archive.body).hexdigest()}  {name}\n"


async def test_ready_packages_are_listed_given_and_named_in_the_installer(
    services: ControlServices, app: Starlette
) -> None:
    folder = services.context.configuration.state_dir / "packages"
    folder.mkdir()
    (folder / "azcmagent_9.8.7_amd64.deb").write_bytes(b"the package")
    (folder / "notes.txt").write_text("no package")
    digest = hashlib.sha256(b"the package").hexdigest()
    listed = (await ask(app, "GET", "/packages/azcmagent/index.json")).json()["packages"]
    assert ("azcmagent_9.8.7_amd64.deb", digest) in [(one["name"], one["sha256"]) for one in listed]
    assert "notes.txt" not in [one["name"] for one in listed]
    assert (await ask(app, "GET", "/packages/azcmagent/azcmagent_9.8.7_amd64.deb")).body == b"the package"
    assert f"azcmagent_9.8.7_amd64.deb {digest}".encode() in (await ask(app, "GET", "/azcmagent-linux")).body
    assert (await ask(app, "GET", "/packages/azcmagent/notes.txt")).status == 404


@pytest.mark.parametrize("name", ["x", "azcmagent-9.9-x.tar.gz", "..", "%2e%2e", "control.sqlite"])
async def test_nothing_else_is_on_the_shelf(app: Starlette, name: str) -> None:
    assert (await ask(app, "GET", f"/packages/azcmagent/{name}")).status == 404


async def test_the_windows_script_is_given(app: Starlette) -> None:
    assert b"exit 1" in (await ask(app, "GET", "/azcmagent-windows")).body


@dataclass(frozen=True)
class Site:
    """A control plane's downloads on loopback."""

    url: str
    ca: Path
    damaged: list[bool]
    altered: dict[str, bytes]
    """Answers that somebody on the way gives in place of ours, by path."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    listening = free_socket()
    port = listening.getsockname()[1]
    cloud = {"domain": "arcgate.test", "public_port": port, "extra_names": ["localhost"], "name": "Test-Cloud"}
    damaged: list[bool] = []
    altered: dict[str, bytes] = {}
    async with control_services(tmp_path / "site", cloud=cloud) as services:
        context = services.context
        names = server_names(context.configuration, ["127.0.0.1"])
        pem = server_certificate_file(context.authority, names, tmp_path / "tls" / "server.pem")
        ca = tmp_path / "ca.pem"
        ca.write_text(context.authority.ca_pem)
        app = services.app(*packages.routes(context))

        async def damage(request: Request) -> Response:
            return Response(b"not the package")

        guarded = Starlette(routes=[Route("/packages/azcmagent/{name:path}", damage)])

        async def choose(scope: Scope, receive: Receive, send: Send) -> None:
            is_archive = scope["path"].endswith(".tar.gz")
            if (other := altered.get(scope["path"])) is not None:
                await Response(other)(scope, receive, send)
                return
            await (guarded if damaged and is_archive else app)(scope, receive, send)

        async with served(choose, listening, pem, pem):
            yield Site(f"https://localhost:{port}", ca, damaged, altered)


async def run(*command: str, **environment: str) -> tuple[int, str, str]:
    """Run a command to its end without blocking the loop that serves it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": f"/usr/bin:/bin:{PYTHON.parent}", "HOME": "/nonexistent", **environment},
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def downloaded_installer(site: Site, folder: Path) -> Path:
    path = folder / "install_linux_azcmagent.sh"
    code, _, err = await run("curl", "-sSf", "--cacert", str(site.ca), "-o", str(path), f"{site.url}/azcmagent-linux")
    assert code == 0, err
    return path


def path_without(folder: Path, *programs: str) -> Path:
    """Return a folder with all of the system's programs but these."""
    folder.mkdir()
    for place in (Path("/usr/bin"), Path("/bin")):
        for tool in place.iterdir():
            if tool.name not in programs and not (folder / tool.name).exists():
                (folder / tool.name).symlink_to(tool)
    if not (folder / PYTHON.name).exists():
        (folder / PYTHON.name).symlink_to(PYTHON)
    return folder


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


async def test_the_installer_installs_below_another_root_twice(site: Site, tmp_path: Path) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    # A hostile environment and working directory: nothing of them may get into the agent's process.
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "sitecustomize.py").write_text("raise SystemExit('PYTHONPATH was used')")
    (tmp_path / "evil" / "ssl.py").write_text("raise SystemExit('PYTHONPATH was used')")
    [key] = embedded_cloud(script.read_bytes())["packageKeys"]
    for demanded in ((), ("--package-key", key)):
        words = (str(script), "--root", str(root), *demanded)
        code, out, err = await run("sh", *words, PYTHONPATH=str(tmp_path / "evil"))
        assert code == 0, err
        assert "not verified" not in out
        assert 'azcmagent connect --cloud "Test-Cloud"' in out
    home = root / "opt" / "azcmagent"
    assert sorted(one.name for one in (root / "opt").iterdir()) == ["azcmagent"]
    assert {one.name for one in (home / "bin").iterdir()} == {
        "azcmagent",
        "himds",
        "himdsd",
        "arcproxyd",
        "extd",
        "azcmagent_proxy",
    }
    assert all(os.access(one, os.X_OK) for one in (home / "bin").iterdir())
    assert (home / "lib" / "arcgate" / "core" / "routing.py").exists()
    assert (root / "usr" / "bin" / "azcmagent").resolve() == home / "bin" / "azcmagent"
    cloud = json.loads((root / "etc" / "azcmagent" / "clouds.d" / "Test-Cloud.json").read_text())
    assert cloud["his"] == site.url
    assert cloud["ca"] == site.ca.read_text()
    state = root / "var" / "opt" / "azcmagent"
    assert [mode(state / name) for name in ("certs", "tokens", "state", "log")] == [
        "0o2770",
        "0o2750",
        "0o2775",
        "0o2775",
    ]
    await agent_runs(root, tmp_path / "evil")


async def agent_runs(root: Path, evil: Path) -> None:
    """The installed command answers, by the link in /usr/bin, without the environment's Python settings."""
    if importlib.util.find_spec("arcgate.agent.commands") is None:
        return
    environment = {
        "PYTHONPATH": str(evil),
        "AZCMAGENT_HOME": str(root / "var/opt/azcmagent"),
        "AZCMAGENT_CLOUDS": str(root / "etc/azcmagent/clouds.d"),
    }
    code, out, err = await run(str(root / "usr" / "bin" / "azcmagent"), "version", **environment)
    assert code == 0, err
    assert this_package().version in out


async def test_a_proxy_is_used_and_kept_without_showing_its_password(site: Site, tmp_path: Path) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    seen: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        port = int(site.url.rpartition(":")[2])
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)  # noqa: TID251 - a stand-in for Squid
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        url = f"http://user:canary@127.0.0.1:{port}"
        code, out, err = await run("sh", str(script), "--root", str(root), "--proxy", url)
    assert code == 0, err
    assert seen
    assert all(head.startswith(b"CONNECT localhost:") for head in seen)
    assert "canary" not in out + err
    home = root / "var" / "opt" / "azcmagent"
    assert json.loads((home / "localconfig.json").read_text())["proxy.url"] == f"http://127.0.0.1:{port}"
    assert "canary" in (home / "certs" / "proxy-credentials").read_text()


async def test_a_damaged_download_is_refused_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    site.damaged.append(True)
    code, _, err = await run("sh", str(script), "--root", str(root))
    assert code == 171
    assert "SHA-256" in err
    assert not (root / "opt").exists()


LIST = "/packages/azcmagent/index.json"


def foreign_signature(index: bytes) -> tuple[str, bytes]:
    key = Ed25519PrivateKey.generate()
    return key_text(key.public_key()), sign_index(index, [key]).encode()


async def test_a_list_of_packages_without_a_trusted_signature_is_refused(site: Site, tmp_path: Path) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    index = b'{"packages":[]}\n'
    key, signature = foreign_signature(index)
    signed_by_another = {LIST: index, f"{LIST}.sig": signature}
    for altered in ({LIST: index}, {f"{LIST}.sig": b""}, signed_by_another):
        site.altered.clear()
        site.altered.update(altered)
        code, _, err = await run("sh", str(script), "--root", str(root))
        assert code == 171
        assert "not signed by a trusted key" in err
    code, _, err = await run("sh", str(script), "--root", str(root), "--package-key", key)
    assert code == 171
    assert "is not in the signed list" in err
    assert not (root / "opt").exists()


async def test_a_key_that_the_admin_demands_counts_alone_and_needs_openssl(site: Site, tmp_path: Path) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    key, _ = foreign_signature(b"")
    code, _, err = await run("sh", str(script), "--root", str(root), "--package-key", key)
    assert code == 171
    assert "not signed by a trusted key" in err
    tools = path_without(tmp_path / "tools", "openssl")
    code, _, err = await run("sh", str(script), "--root", str(root), f"--package-key={key}", PATH=str(tools))
    assert code == 150
    assert "openssl 3" in err
    assert not (root / "opt").exists()


async def test_a_publishers_list_is_given_as_it_was_signed(tmp_path: Path) -> None:
    folder, keys = tmp_path / "ready", [Ed25519PrivateKey.generate() for _ in range(2)]
    folder.mkdir()
    (folder / "azcmagent_9.8.7_amd64.deb").write_bytes(b"the package")
    publics = []
    for number, key in enumerate(keys):
        (folder / f"{number}.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        publics.append(folder / f"{number}.pem")
        publics[-1].write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    words = ["packages", "sign", str(folder), "--key", str(folder / "0.key"), "--key", str(folder / "1.key")]
    assert CliRunner().invoke(arcgate, words).exit_code == 0
    settings = {"packages_folder": folder, "package_keys": publics}
    async with control_services(tmp_path / "state", control=settings) as services:
        app = services.app(*packages.routes(services.context))
        index, signatures = [(await ask(app, "GET", f"{LIST}{end}")).body for end in ("", ".sig")]
        for key in keys:
            require_signed(index, signatures, [key.public_key()])
        trusted = embedded_cloud((await ask(app, "GET", "/azcmagent-linux")).body)["packageKeys"]
        assert trusted == [key_text(key.public_key()) for key in keys]
        # What came into the folder afterwards is not in the list, and without a signature there is none to trust.
        (folder / "azcmagent_9.9.9_amd64.deb").write_bytes(b"another")
        assert (await ask(app, "GET", LIST)).body == index
        (folder / "index.json.sig").unlink()
        index, signatures = [(await ask(app, "GET", f"{LIST}{end}")).body for end in ("", ".sig")]
        with pytest.raises(InputError):
            require_signed(index, signatures, [key.public_key() for key in keys])


async def test_a_server_of_another_authority_is_not_believed(site: Site, tmp_path: Path) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    text = script.read_text()
    async with control_services(tmp_path / "other") as other:
        begin, end = text.index("-----BEGIN CERTIFICATE"), text.index("\nEND_OF_AUTHORITIES")
        script.write_text(text[:begin] + other.context.authority.ca_pem.strip() + text[end:])
    code, _, err = await run("sh", str(script), "--root", str(root))
    assert code == 146
    assert "could not be downloaded" in err
    assert not (root / "opt").exists()


async def test_wget_serves_where_there_is_no_curl_and_without_openssl_it_says_what_is_not_verified(
    site: Site, tmp_path: Path
) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    tools = path_without(tmp_path / "tools", "curl", "openssl")
    code, out, err = await run("sh", str(script), "--root", str(root), PATH=str(tools))
    assert code == 0, err
    assert "The signature is not verified" in out
    assert (root / "opt" / "azcmagent" / "bin" / "azcmagent").exists()


async def test_an_installed_agent_upgrades_itself_from_the_packages_host(site: Site, tmp_path: Path) -> None:
    script, root = await downloaded_installer(site, tmp_path), tmp_path / "root"
    assert (await run("sh", str(script), "--root", str(root)))[0] == 0
    version_file = root / "opt" / "azcmagent" / "lib" / "arcgate" / "__init__.py"
    version_file.write_text(version_file.read_text().replace(this_package().version, "0.0.1"))
    places = {
        "AZCMAGENT_HOME": str(root / "var" / "opt" / "azcmagent"),
        "AZCMAGENT_CLOUDS": str(root / "etc" / "azcmagent" / "clouds.d"),
    }
    program = str(root / "opt" / "azcmagent" / "bin" / "azcmagent")
    for status in ("upgraded", "upToDate"):
        code, out, err = await run(program, "upgrade", "--json", **places)
        assert code == 0, out + err
        assert json.loads(out) == {"status": status, "version": this_package().version}
    assert this_package().version in version_file.read_text()
    assert sorted(one.name for one in (root / "opt").iterdir()) == ["azcmagent"]
