"""The commands about connections to machines, against a control plane: who may, which machine is meant, cutting."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from worlds.command_line import CommandLine
from worlds.control_plane import control_plane

pytestmark = pytest.mark.anyio

WHERE = ("-n", "server-1", "-g", "servers")


@pytest.fixture
async def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CommandLine]:
    async with control_plane(tmp_path) as control:
        await control.group()
        await control.machine()
        made = CommandLine(control, tmp_path / "profile")
        made.install(monkeypatch)
        yield made


async def test_a_login_is_allowed_once_and_forbidden_again(commands: CommandLine) -> None:
    assert await commands.succeed("machine", "allow-login", *WHERE) == "Allowed.\n"
    assert await commands.succeed("machine", "allow-login", *WHERE) == "It was allowed already.\n"
    somebody = await commands.control.principal()
    assert await commands.succeed("machine", "allow-login", *WHERE, "--assignee", somebody.principal.id) == "Allowed.\n"
    assert await commands.succeed("machine", "forbid-login", *WHERE) == "Forbidden.\n"
    assert await commands.succeed("machine", "forbid-login", *WHERE) == "There was no such role at this machine.\n"
    assert (
        await commands.succeed("machine", "forbid-login", *WHERE, "--assignee", somebody.principal.id) == "Forbidden.\n"
    )


async def test_an_assignee_must_exist(commands: CommandLine) -> None:
    result = await commands.run("machine", "allow-login", *WHERE, "--assignee", str(uuid.uuid4()))
    assert result.exit_code != 0
    assert "PrincipalNotFound" in str(vars(result.exception).get("code", ""))


async def test_without_connections_nothing_is_cut_or_listed(commands: CommandLine) -> None:
    assert await commands.succeed("machine", "cut", *WHERE) == "Connections cut: 0.\n"
    assert await commands.succeed("machine", "sessions", "-n", "server-1", "-o", "json") == "[]\n"


async def test_what_was_not_there_to_delete_may_be_a_misspelt_name(commands: CommandLine) -> None:
    extension = ("machine", "extension", "delete", "--machine-name", "server-1", "-g", "servers", "-y", "--name", "mis")
    result = await commands.run(*extension)
    assert (result.exit_code, result.stderr) == (0, "There was no extension mis.\n")
    deleted = await commands.run("machine", "delete", *WHERE, "-y")
    assert (deleted.exit_code, deleted.stderr) == (0, "")
    again = await commands.run("machine", "delete", *WHERE, "-y")
    assert (again.exit_code, again.stderr) == (0, "There was no machine server-1.\n")


async def test_a_machine_is_found_by_its_name_alone_while_there_is_one_of_it(commands: CommandLine) -> None:
    await commands.succeed("machine", "allow-login", *WHERE)
    # It is found, and may be connected to, but has no gateway.
    for name in ("server-1", "SERVER-1"):
        assert code_of(await commands.run("ssh-proxy", name)) == "GatewayNeeded"
    assert code_of(await commands.run("ssh-proxy", "server-2")) == "MachineNotFound"
    await commands.control.group("others")
    body = {"location": "eastus", "properties": {"vmId": str(uuid.uuid4()), "osType": "linux"}}
    path = "resourceGroups/others/providers/Microsoft.HybridCompute/machines/server-1"
    assert (await commands.control.arm("PUT", path, body)).status == 200
    result = await commands.run("ssh-proxy", "server-1")
    assert code_of(result) == "MachineNotFound"
    assert "-g GROUP" in str(vars(result.exception)["remedy"])
    assert code_of(await commands.run("ssh-proxy", "server-1", "-g", "servers")) == "GatewayNeeded"


def code_of(result: object) -> str:
    return str(vars(vars(result)["exception"]).get("code", ""))
