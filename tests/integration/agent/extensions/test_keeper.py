"""One extension on a machine, with real handlers: good, failing and hanging ones, and packages that were changed."""

import asyncio
import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs7
from cryptography.x509 import load_pem_x509_certificate

from arcgate.agent.extension_state import WantedExtension, read_extension_statuses
from arcgate.agent.extensions.daemon import ExtensionDaemon
from arcgate.agent.extensions.folders import ExtensionFolders
from arcgate.agent.extensions.handler import HEARTBEAT_LIFE
from arcgate.agent.extensions.keeper import Keeper
from arcgate.agent.extensions.processor_limit import ProcessorLimit
from arcgate.agent.extensions.surroundings import ExtensionWorld, StatusBoard
from arcgate.agent.machine_key import now
from arcgate.agent.paths import AgentPaths
from arcgate.core.errors import ArcgateError
from arcgate.core.extension_goals import ExtensionGoal, ExtensionState, ExtensionStatus, Level
from arcgate.core.extension_lifecycle import Stage
from arcgate.net.tasks import cancel, spawn
from worlds.extension_packages import Host, Publisher, handler_files, packed
from worlds.waiting import until

pytestmark = pytest.mark.anyio


@dataclass
class Machine:
    """An extension `job` of a machine without a cloud."""

    paths: AgentPaths
    host: Host = field(default_factory=Host)
    settings: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)
    proxy: str = ""
    keeper: Keeper = field(init=False)

    def __post_init__(self) -> None:
        """Begin without extensions."""
        self.start()

    def start(self) -> None:
        """Start extd's part anew, over the files that are there."""
        folders = ExtensionFolders.of(self.paths)
        limit = ProcessorLimit(Path("/nowhere"))
        limit.problem = ""
        world = ExtensionWorld(
            folders,
            folders.read_records(),
            StatusBoard(self.paths, now),
            limit,
            lambda: self.settings,
            self.host.source,
            lambda _wanted: self.secrets,
            lambda: self.proxy,
        )
        self.keeper = Keeper("job", world)

    async def want(self, revision: int, version: str = "", settings: dict[str, Any] | None = None, **more: Any) -> None:
        """Want it, and do what there is to do."""
        goal = ExtensionGoal("Job", "Contoso", "Backup", version, revision, **more)
        self.keeper.wanted = WantedExtension(goal, settings or {})
        await self.keeper.settle()

    async def drop(self) -> None:
        """Want it no more."""
        self.keeper.wanted = None
        await self.keeper.settle()

    @property
    def status(self) -> ExtensionStatus:
        """What the cloud is told."""
        [one] = read_extension_statuses(self.paths)
        return one

    @property
    def folder(self) -> Path:
        """The extension's folder."""
        return self.paths.home / "extensions" / "job"

    def calls(self) -> list[str]:
        """The commands that were run so far."""
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path / "agent")})
    paths.prepare()
    return Machine(paths)


async def test_a_handler_is_installed_enabled_and_heard(machine: Machine) -> None:
    machine.host.offer("1.0", '[ "$1" = enable ] && status success 0 "Backups run." || true')
    await machine.want(4)
    assert machine.calls() == ["install 1.0 4", "enable 1.0 4"]
    status = machine.status
    assert (status.name, status.settings_revision, status.version) == ("Job", 4, "1.0")
    assert (status.state, status.level, status.message) == (ExtensionState.SUCCEEDED, Level.INFORMATION, "Backups run.")
    assert status.time


async def test_the_files_of_the_contract_are_there_and_secrets_are_sealed_in_them(machine: Machine) -> None:
    machine.secrets = {"key": "hunter2"}
    machine.host.offer("1.0", 'cat "$HERE/HandlerEnvironment.json" >"$HERE/../seen"; env >>"$HERE/../seen"')
    await machine.want(7, settings={"level": 3})
    environment, _ = json.JSONDecoder().raw_decode((machine.folder / "seen").read_text())
    folders = environment[0]["handlerEnvironment"]
    assert folders["logFolder"] == str(machine.folder / "log")
    assert environment[0]["sequenceNumber"] == "7"
    [settings] = json.loads((Path(folders["configFolder"]) / "7.settings").read_text())["runtimeSettings"]
    handler = settings["handlerSettings"]
    assert handler["publicSettings"] == {"level": 3}
    place = machine.folder / handler["protectedSettingsCertThumbprint"]
    certificate = load_pem_x509_certificate(place.with_suffix(".crt").read_bytes())
    key = load_pem_private_key(place.with_suffix(".prv").read_bytes(), None)
    opened = pkcs7.pkcs7_decrypt_der(base64.b64decode(handler["protectedSettings"]), certificate, key, [])  # type: ignore[arg-type]
    assert json.loads(opened) == {"key": "hunter2"}
    everything = b"".join(path.read_bytes() for path in machine.folder.rglob("*") if path.is_file())
    assert b"hunter2" not in everything
    assert machine.folder.parent.stat().st_mode & 0o077 == 0


async def test_a_handler_that_asks_for_them_reads_protected_settings_from_its_input(machine: Machine) -> None:
    machine.secrets = {"key": "hunter2"}
    machine.host.offer("1.0", 'cat | sha256sum >"$HERE/../given-$1"', protectedSettingsOnInput=True)
    await machine.want(1)
    expected = base64.b16encode(__import__("hashlib").sha256(b'{"key": "hunter2"}\n').digest()).decode().lower()
    assert (machine.folder / "given-enable").read_text().split()[0] == expected


async def test_new_settings_enable_it_again_and_the_same_ones_do_not(machine: Machine) -> None:
    machine.host.offer("1.0")
    await machine.want(1)
    await machine.want(1)
    await machine.want(2, settings={"new": True})
    assert machine.calls()[2:] == ["enable 1.0 2"]


async def test_older_settings_are_not_carried_out_again(machine: Machine) -> None:
    machine.host.offer("1.0")
    await machine.want(5)
    await machine.want(4, settings={"old": True})
    assert machine.calls() == ["install 1.0 5", "enable 1.0 5"]
    assert (machine.status.state, machine.status.code) == (ExtensionState.FAILED, "OlderSettings")


async def test_it_goes_on_to_a_newer_version_and_never_to_an_older_one(machine: Machine) -> None:
    machine.host.offer("1.0")
    await machine.want(1)
    machine.host.offer(
        "1.1", '[ "$1" = update ] && echo "from $AZURE_GUEST_AGENT_UPDATING_FROM_VERSION" >"$HERE/../from"; true'
    )
    await machine.want(2)
    words = ["disable 1.0 2", "update 1.1 2", "uninstall 1.0 2", "install 1.1 2", "enable 1.1 2"]
    assert machine.calls()[2:] == words
    assert (machine.folder / "from").read_text() == "from 1.0\n"
    assert not (machine.folder / "1.0").exists()
    await machine.want(3, "1.0", upgrades_minor=False)
    assert machine.calls()[-1] == "enable 1.1 2"
    assert (machine.status.code, machine.status.version) == ("DowngradeRefused", "1.1")


async def test_an_update_that_fails_brings_the_old_version_back_with_its_settings(machine: Machine) -> None:
    machine.host.offer(
        "1.0", '[ "$1" = enable ] && cp "$HERE/config/$ConfigSequenceNumber.settings" "$HERE/../used"; true'
    )
    await machine.want(1, settings={"from": "old"})
    machine.host.offer("1.1", '[ "$1" = enable ] && { status error 17 "No licence."; exit 9; }; true')
    await machine.want(2, settings={"from": "new"})
    assert machine.calls()[-3:] == ["uninstall 1.1 2", "install 1.0 1", "enable 1.0 1"]
    assert '"old"' in (machine.folder / "used").read_text()
    status = machine.status
    assert (status.state, status.version, status.level) == (ExtensionState.FAILED, "1.0", Level.ERROR)
    assert "enable of version 1.1 ended with exit code 9" in status.message
    assert "No licence." in status.message
    assert "Version 1.0 is in use again" in status.message
    assert not (machine.folder / "1.1").exists()


async def test_what_is_wanted_no_more_is_disabled_uninstalled_and_forgotten(machine: Machine, tmp_path: Path) -> None:
    machine.host.offer("1.0", f'echo "$1" >>{tmp_path}/calls')
    await machine.want(1)
    await machine.drop()
    assert (tmp_path / "calls").read_text().split() == ["install", "enable", "disable", "uninstall"]
    assert not machine.folder.exists()
    assert read_extension_statuses(machine.paths) == ()
    assert ExtensionFolders.of(machine.paths).read_records() == {}


async def test_a_handler_that_fails_is_reported_with_its_last_words(machine: Machine) -> None:
    machine.host.offer("1.0", '[ "$1" = install ] && { echo "No space left"; exit 51; }; true')
    await machine.want(1)
    status = machine.status
    assert (status.state, status.code, status.version) == (ExtensionState.FAILED, "HandlerFailed", "")
    assert "install of version 1.0 ended with exit code 51: No space left" in status.message
    machine.start()
    await machine.want(1)
    assert machine.calls() == ["install 1.0 1"]


async def test_a_handler_that_hangs_is_killed_with_its_children(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arcgate.agent.extensions.handler_process.GRACE", 0.3)
    machine.settings = {"extensions.timeout": 0.5}
    machine.host.offer(
        "1.0", '[ "$1" = enable ] && { sleep 600 & echo $! >"$HERE/../child"; trap "" TERM; wait; sleep 600; }; true'
    )
    await machine.want(1)
    assert "did not end within 0.5 s, and was killed with all that it had started" in machine.status.message
    child = int((machine.folder / "child").read_text())
    await until(lambda: not _runs(child))
    assert machine.keeper.record is not None
    assert machine.keeper.record.stage is Stage.UNSETTLED


async def test_what_a_handler_leaves_running_is_not_waited_for(machine: Machine) -> None:
    machine.settings = {"extensions.timeout": 30}
    machine.host.offer("1.0", '[ "$1" = enable ] && { setsid sleep 600 & echo $! >"$HERE/../child"; }; true')
    await machine.want(1)
    assert machine.status.state is ExtensionState.SUCCEEDED
    child = int((machine.folder / "child").read_text())
    assert _runs(child)
    os.kill(child, 9)


@pytest.mark.parametrize(
    "script",
    [
        'printf "not json" >"$HERE/status/$ConfigSequenceNumber.status"',
        'ln -s /etc/passwd "$HERE/status/$ConfigSequenceNumber.status"',
        'mkdir "$HERE/status/$ConfigSequenceNumber.status"',
        'status splendid 0 "Fine."',
    ],
)
async def test_a_status_that_can_not_be_understood_is_said_to_be_one(machine: Machine, script: str) -> None:
    machine.host.offer("1.0", f'[ "$1" = enable ] && {{ {script}; }}; true')
    await machine.want(1)
    assert (machine.status.state, machine.status.code) == (ExtensionState.FAILED, "StatusInvalid")
    assert "root:" not in machine.status.message


async def test_a_handler_without_the_heartbeat_that_it_promised_is_not_ready(machine: Machine) -> None:
    words = '{"status": "notReady", "code": 1, "formattedMessage": {"message": "No disk."}}'
    beat = f'[{{"version": 1.0, "heartbeat": {words}}}]'
    machine.host.offer("1.0", f"printf '%s' '{beat}' >\"$HERE/../heartbeat\"", reportHeartbeat=True)
    await machine.want(1)
    status = machine.status
    assert (status.state, status.level, status.display_status) == (ExtensionState.SUCCEEDED, Level.WARNING, "Not ready")
    assert "No disk." in status.message


async def test_a_handler_that_falls_silent_is_enabled_again(machine: Machine) -> None:
    beat = '[{"version": 1.0, "heartbeat": {"status": "ready"}}]'
    machine.host.offer("1.0", f"printf '%s' '{beat}' >\"$HERE/../heartbeat\"", reportHeartbeat=True)
    await machine.want(1)
    assert machine.status.level is Level.INFORMATION
    long_ago = machine.keeper._enabled_at - 2 * HEARTBEAT_LIFE
    machine.keeper._enabled_at = long_ago
    os.utime(machine.folder / "heartbeat", (1, 1))
    machine.keeper.look()
    assert "last heartbeat was" in machine.status.message
    assert machine.keeper.bell.is_set()
    await machine.want(1)
    assert machine.calls()[2:] == ["enable 1.0 1"]
    assert machine.status.level is Level.INFORMATION


async def test_what_the_handler_says_later_is_told_too(machine: Machine) -> None:
    machine.host.offer("1.0", '[ "$1" = enable ] && status transitioning 0 "Half way."; true')
    await machine.want(1)
    assert machine.status.state is ExtensionState.UPDATING
    place = machine.folder / "1.0" / "status" / "1.status"
    place.write_text(place.read_text().replace("transitioning", "success").replace("Half way.", "Done."))
    machine.keeper.look()
    assert (machine.status.state, machine.status.message) == (ExtensionState.SUCCEEDED, "Done.")


def _tampered(machine: Machine) -> None:
    description = machine.host.offer("1.0")
    machine.host.http.files[description.file_name] = packed(handler_files("touch /tmp/never"))


def _foreign(machine: Machine) -> None:
    content = packed(handler_files(""))
    description, signed = Publisher().signed(content, "1.0")
    machine.host.http.files[description.file_name] = content
    machine.host.http.listed.append(signed)


def _unsigned(machine: Machine) -> None:
    machine.host.offer("1.0")
    machine.host.http.listed[0]["signature"] = ""


def _renamed(machine: Machine) -> None:
    machine.host.offer("1.0")
    one = machine.host.http.listed[0]
    one["description"] = one["description"].replace('"1.0"', '"1.9"')


def _climbing(machine: Machine) -> None:
    content = packed({**handler_files(""), "../../../evil": "x"})
    description, signed = machine.host.publisher.signed(content, "1.0")
    machine.host.http.files[description.file_name] = content
    machine.host.http.listed.append(signed)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_tampered, "PACKAGE_TAMPERED"),
        (_foreign, "PACKAGE_UNTRUSTED"),
        (_unsigned, "PACKAGE_UNTRUSTED"),
        (_renamed, "PACKAGE_UNTRUSTED"),
        (_climbing, "PACKAGE_INVALID"),
        (lambda _machine: None, "PACKAGE_NOT_FOUND"),
    ],
)
async def test_a_package_that_is_not_its_publishers_runs_nothing(
    machine: Machine, change: Callable[[Machine], None], code: str
) -> None:
    change(machine)
    with pytest.raises(ArcgateError) as caught:
        await machine.want(1)
    assert caught.value.code == code
    assert not (machine.folder / "calls").exists()
    assert not (machine.folder / "1.0").exists()
    assert list(machine.paths.home.glob("**/evil")) == []


async def test_a_failure_that_is_not_the_handlers_is_told_and_tried_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arcgate.agent.extensions.keeper.FIRST_RETRY", 0.01)
    machine.keeper.wanted = WantedExtension(ExtensionGoal("Job", "Contoso", "Backup", settings_revision=1))
    task = spawn("keeper", machine.keeper.run())
    try:
        await until(lambda: machine.paths.extension_statuses.exists())
        assert (machine.status.code, machine.status.state) == ("PACKAGE_NOT_FOUND", ExtensionState.FAILED)
        machine.host.offer("1.0")
        await until(lambda: machine.status.state is ExtensionState.SUCCEEDED)
    finally:
        await cancel(task)


async def test_a_defect_of_ours_is_told_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.keeper.world, "source", lambda: 1 / 0)
    machine.keeper.wanted = WantedExtension(ExtensionGoal("Job", "Contoso", "Backup", settings_revision=1))
    task = spawn("keeper", machine.keeper.run())
    try:
        await until(lambda: machine.paths.extension_statuses.exists())
        assert (machine.status.code, machine.status.state) == ("SystemError", ExtensionState.FAILED)
        assert "division by zero" in machine.status.message
    finally:
        await cancel(task)


async def test_an_interrupted_command_is_run_again_and_its_group_is_gone(machine: Machine) -> None:
    first = '[ "$1" = enable ] && [ ! -e "$HERE/../again" ]'
    machine.host.offer("1.0", f'{first} && {{ touch "$HERE/../again"; echo $$ >"$HERE/../child"; sleep 600; }}; true')
    task = asyncio.ensure_future(machine.want(1))  # noqa: TID251 - its own exception is looked at
    await until(lambda: (machine.folder / "child").exists())
    child = int((machine.folder / "child").read_text() or "0")
    await cancel(task)
    assert not _runs(child)
    machine.start()
    await machine.want(1)
    assert machine.calls() == ["install 1.0 1", "enable 1.0 1", "enable 1.0 1"]
    assert machine.status.state is ExtensionState.SUCCEEDED


async def test_machines_in_gateway_mode_tell_their_proxy_by_themselves(machine: Machine) -> None:
    machine.host.offer("1.0", 'echo "$HTTPS_PROXY" >"$HERE/../proxy"')
    machine.proxy = "http://127.0.0.1:40343"
    await machine.want(1)
    document = json.loads((machine.folder / "1.0/config/1.settings").read_text())
    told = document["runtimeSettings"][0]["handlerSettings"]["publicSettings"]["proxy"]
    assert told == {"mode": "application", "address": "http://127.0.0.1:40343", "auth": False}
    assert (machine.folder / "proxy").read_text() == "http://127.0.0.1:40343\n"
    machine.proxy = ""
    await machine.want(1)
    assert machine.calls()[2:] == ["enable 1.0 1"]
    assert (machine.folder / "proxy").read_text() == "\n"


async def test_a_proxy_of_the_settings_is_passed_on_as_it_is(machine: Machine) -> None:
    machine.host.offer("1.0")
    machine.proxy = "http://127.0.0.1:40343"
    await machine.want(1, settings={"proxy": {"mode": "none"}})
    assert '"mode": "none"' in (machine.folder / "1.0/config/1.settings").read_text()


async def test_the_machines_owner_may_forbid_extensions_but_not_their_removal(machine: Machine) -> None:
    machine.host.offer("1.0")
    machine.settings = {"extensions.blocklist": ["contoso/*"], "extensions.allowlist": ["Contoso/Backup"]}
    await machine.want(1)
    assert (machine.status.code, machine.status.state) == ("NotAllowed", ExtensionState.FAILED)
    assert "extensions.blocklist names Contoso/Backup" in machine.status.message
    assert machine.host.http.requests == []
    machine.settings = {}
    await machine.want(1)
    machine.settings = {"extensions.enabled": False}
    await machine.want(2)
    assert machine.calls() == ["install 1.0 1", "enable 1.0 1"]
    await machine.drop()
    assert not machine.folder.exists()


async def test_a_limit_that_is_not_in_force_is_a_warning(machine: Machine) -> None:
    machine.host.offer("1.0")
    machine.keeper.world.limit.problem = "this system has no control groups of version 2"
    await machine.want(1)
    assert (machine.status.state, machine.status.level) == (ExtensionState.SUCCEEDED, Level.WARNING)
    assert "extensions.agent.cpulimit is not in force" in machine.status.message


async def test_the_command_removes_what_is_installed_without_a_cloud(machine: Machine, tmp_path: Path) -> None:
    machine.host.offer("1.0", f'echo "$1" >>{tmp_path}/calls')
    await machine.want(1)
    await ExtensionDaemon(machine.paths, {}).remove(["Job"])
    assert (tmp_path / "calls").read_text().split()[2:] == ["disable", "uninstall"]
    assert not machine.folder.exists()


async def test_what_another_identity_installed_goes_first(machine: Machine, tmp_path: Path) -> None:
    machine.host.offer("1.0", f'echo "$1 $ConfigSequenceNumber" >>{tmp_path}/calls')
    await machine.want(1000)
    folders = machine.keeper.world.folders
    assert folders.is_for("first")
    assert folders.is_for("first")
    assert not folders.is_for("second")
    assert folders.is_for("second")
    daemon = ExtensionDaemon(machine.paths, {})
    daemon.disown()
    machine.start()
    await machine.want(3)
    words = ["install 1000", "enable 1000", "disable 1000", "uninstall 1000", "install 3", "enable 3"]
    assert (tmp_path / "calls").read_text().splitlines() == words


async def test_a_status_that_can_not_be_written_is_written_later(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    machine.host.offer("1.0")
    with monkeypatch.context() as patch:
        patch.setattr("arcgate.agent.extensions.surroundings.write_extension_statuses", full)
        await machine.want(1)
    assert not machine.paths.extension_statuses.exists()
    machine.keeper.world.board.store()
    assert machine.status.state is ExtensionState.SUCCEEDED


def test_a_folder_that_others_may_write_is_not_used(machine: Machine) -> None:
    folder = machine.paths.home / "extensions"
    folder.chmod(0o777)
    with pytest.raises(ArcgateError) as caught:
        ExtensionFolders.of(machine.paths)
    assert caught.value.code == "FOLDER_UNSAFE"
    folder.rmdir()
    folder.symlink_to("/etc")
    with pytest.raises(ArcgateError):
        ExtensionFolders.of(machine.paths)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
