"""An upgrade: the new agent in the old one's place, or the old one as it was."""

import asyncio
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from arcgate.agent.errors import AzcmError
from arcgate.agent.upgrade.commands import run
from arcgate.agent.upgrade.installation import Installation, find_installation
from arcgate.agent.upgrade.replacement import require_contained
from arcgate.agent.upgrade.upgrade import Upgrade
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.tasks import spawn
from arcgate.wire.extension_signature import key_text
from arcgate.wire.package_index import sign_index
from worlds.waiting import wait_until

pytestmark = pytest.mark.anyio

ANSWERING = """#!/bin/sh
echo '{"version": "%s"}'
"""


@dataclass
class PackagesHost:
    """Gives what the test has put there."""

    files: dict[str, bytes] = field(default_factory=dict)
    listed: list[dict[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def request(self, _method: str, url: str, **_more: Any) -> Answer:
        name = url.rpartition("/")[2]
        self.asked.append(name)
        if name == "index.json":
            return Answer(200, {}, self.index)
        return Answer(200, {}, self.files[name]) if name in self.files else Answer(404, {}, b"")

    @property
    def index(self) -> bytes:
        return json.dumps({"packages": self.listed}).encode()

    def sign(self, *keys: Ed25519PrivateKey) -> None:
        """Sign what is on offer now."""
        self.files["index.json.sig"] = sign_index(self.index, keys).encode()

    def offer(self, version: str, content: bytes, kind: str = "archive", digest: str = "") -> None:
        name = f"azcmagent-{version}"
        self.files[name] = content
        sha256 = digest or hashlib.sha256(content).hexdigest()
        self.listed.append(
            {"name": name, "version": version, "kind": kind, "machine": "x86_64", "libc": "gnu", "sha256": sha256}
        )


@dataclass
class World:
    """A machine with an installed agent, and its packages host."""

    installed: Installation
    host: PackagesHost = field(default_factory=PackagesHost)
    told: list[str] = field(default_factory=list)
    percents: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def upgrade(self, wanted: str = "") -> str:
        http = cast("HttpClient", self.host)
        tell, progress = self.told.append, self.percents.append
        return await Upgrade(self.installed, http, "https://p", tell, progress, self.keys).run(wanted)

    async def refused(self, wanted: str = "") -> AzcmError:
        with pytest.raises(AzcmError) as caught:
            await self.upgrade(wanted)
        return caught.value

    @property
    def answer(self) -> str:
        return str(json.loads(run([self.installed.program, "version", "--json"]))["version"])

    @property
    def leftovers(self) -> list[str]:
        return [one.name for one in self.installed.home.parent.iterdir() if one != self.installed.home]


def _archive(version: str, more: Mapping[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {"bin/azcmagent": ANSWERING % version, **(more or {})}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o755
            archive.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture
def world(tmp_path: Path) -> World:
    home = tmp_path / "opt" / "azcmagent"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "azcmagent").write_text(ANSWERING % "1.0.0")
    (home / "bin" / "azcmagent").chmod(0o755)
    return World(Installation("archive", "x86_64", "gnu", home, "1.0.0"))


async def test_the_new_agent_takes_the_place_of_the_old_one(world: World, tmp_path: Path) -> None:
    world.host.offer("1.1.0", _archive("1.1.0", {"prepare_machine": '#!/bin/sh\necho "$@" > "$2/prepared"\n'}))
    assert await world.upgrade() == "1.1.0"
    assert world.answer == "1.1.0"
    assert world.leftovers == []
    assert (tmp_path / "prepared").read_text() == f"--root {tmp_path}\n"
    assert world.percents == [10, 60, 100]


async def test_the_newest_agent_is_left_alone_and_nothing_is_fetched(world: World) -> None:
    for version in ("0.9.0", "1.0.0"):
        world.host.offer(version, _archive(version))
    assert await world.upgrade() == "1.0.0"
    assert world.host.asked == ["index.json"]


async def test_where_a_key_is_known_it_must_have_signed_the_list(world: World) -> None:
    old, new, foreign = (Ed25519PrivateKey.generate() for _ in range(3))
    world.keys = [key_text(one.public_key()) for one in (old, new)]
    world.host.offer("1.1.0", _archive("1.1.0"))
    unsigned = await world.refused()
    world.host.sign(foreign)
    untrusted = await world.refused()
    world.host.sign(old)
    world.host.offer("1.2.0", _archive("1.2.0"))
    tampered = await world.refused()
    assert [one.number for one in (unsigned, untrusted, tampered)] == [101] * 3
    assert "is not signed" in unsigned.cause
    assert "none of them is trusted" in untrusted.cause
    assert "does not fit" in tampered.cause
    assert world.answer == "1.0.0"
    world.host.sign(foreign, new)
    assert await world.upgrade() == "1.2.0"


async def test_an_older_version_is_installed_only_when_it_is_asked_for(world: World) -> None:
    world.host.offer("0.9.0", _archive("0.9.0"))
    assert await world.upgrade() == "1.0.0"
    assert await world.upgrade("0.9") == "0.9.0"
    assert world.answer == "0.9.0"


async def test_a_wrong_checksum_is_azcm0101_and_changes_nothing(world: World) -> None:
    world.host.offer("1.1.0", _archive("1.1.0"), digest="0" * 64)
    assert (await world.refused()).number == 101
    assert (world.answer, world.leftovers) == ("1.0.0", [])


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        _archive("1.1.0")[:-30],
        _archive("0.0.0"),
        _archive("1.1.0", {"../../escaped": "x"}),
        _archive("1.1.0", {"bin/azcmagent": "#!/bin/sh\nexit 1\n"}),
    ],
)
async def test_a_package_that_is_not_good_changes_nothing(world: World, content: bytes, tmp_path: Path) -> None:
    world.host.offer("1.1.0", content)
    assert (await world.refused()).number == 101
    assert (world.answer, world.leftovers) == ("1.0.0", [])
    assert not (tmp_path / "escaped").exists()


async def test_what_fails_after_the_exchange_brings_the_old_agent_back(world: World) -> None:
    world.host.offer("1.1.0", _archive("1.1.0", {"prepare_machine": "#!/bin/sh\nexit 3\n"}))
    error = await world.refused()
    assert error.number == 101
    assert "prepare_machine" in error.sentence
    assert (world.answer, world.leftovers) == ("1.0.0", [])
    assert world.told[-1] == "Rolled back to version 1.0.0"


async def test_what_is_being_put_in_place_is_finished_although_somebody_cancels(world: World, tmp_path: Path) -> None:
    script = '#!/bin/sh\n: >"$2/begun"\nread -r _ <"$2/go"\n'
    os.mkfifo(tmp_path / "go")
    world.host.offer("1.1.0", _archive("1.1.0", {"prepare_machine": script}))
    upgrade = spawn("upgrade", world.upgrade())
    await asyncio.to_thread(wait_until, (tmp_path / "begun").exists, "the new agent is being put in place")
    for _ in range(2):
        upgrade.cancel()
        await asyncio.sleep(0)
    await asyncio.to_thread((tmp_path / "go").write_text, "\n")
    assert await upgrade == "1.1.0"
    assert (world.answer, world.leftovers) == ("1.1.0", [])
    assert "can't be cancelled" in world.told[-1]


def test_what_an_upgrade_runs_is_out_of_reach_of_the_terminals_signals() -> None:
    assert run([sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"]) == "True\n"


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        *(("lib/a", tarfile.SYMTYPE, target) for target in ("/etc/passwd", "../../a", "b/../../a")),
        *((name, tarfile.REGTYPE, "") for name in ("/etc/passwd", "a/../../b", "..")),
        *(("a", kind, "b") for kind in (tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)),
    ],
)
def test_nothing_of_a_package_leads_out_of_its_folder(name: str, kind: bytes, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    with pytest.raises(AzcmError):
        require_contained([member])


def test_nothing_is_written_through_a_link_of_the_package() -> None:
    link, below = tarfile.TarInfo("a"), tarfile.TarInfo("a/b")
    link.type, link.linkname = tarfile.SYMTYPE, "bin"
    require_contained([link])
    with pytest.raises(AzcmError):
        require_contained([link, below])


async def test_no_package_for_this_machine_is_azcm0003(world: World) -> None:
    world.host.offer("1.1.0", b"", kind="rpm")
    assert (await world.refused()).number == 3


async def test_a_package_that_is_gone_is_azcm0026(world: World) -> None:
    world.host.offer("1.1.0", b"")
    world.host.files.clear()
    assert (await world.refused()).number == 26


async def test_the_package_manager_installs_packages_and_goes_back_when_the_new_agent_does_not_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[str] = []
    monkeypatch.setattr(
        "arcgate.agent.upgrade.upgrade.replace_package", lambda _kind, file: installed.append(file.name)
    )
    world.installed = Installation("deb", "x86_64", "gnu", world.installed.home, "1.0.0")
    for version in ("1.0.0", "1.1.0"):
        world.host.offer(version, version.encode(), kind="deb")
    # Nothing was really installed, so the program still says that it is 1.0.0.
    assert (await world.refused()).number == 101
    assert installed == ["azcmagent-1.1.0", "azcmagent-1.0.0"]


def test_an_agent_from_elsewhere_is_azcm0003() -> None:
    with pytest.raises(AzcmError) as caught:
        find_installation()
    assert caught.value.number == 3
