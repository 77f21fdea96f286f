"""Tokens of the Azure CLI's session, from a program that stands in for it."""

import os
from pathlib import Path

import pytest

from arcgate.agent import azure_cli
from arcgate.agent.azure_cli import AzureCli, find_azure_cli
from arcgate.agent.errors import AzcmError

pytestmark = pytest.mark.anyio

RESOURCE = "https://management.arcgate.test/"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "bin"
    place.mkdir(mode=0o755)
    return place


def program(folder: Path, script: str) -> AzureCli:
    place = folder / "az"
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)
    return find_azure_cli({"PATH": f".:{folder}:{os.environ['PATH']}"})


async def refused(cli: AzureCli) -> AzcmError:
    with pytest.raises(AzcmError) as caught:
        await cli.token(RESOURCE)
    assert caught.value.number == 41
    return caught.value


async def test_the_sessions_token_is_asked_for_the_clouds_resource_and_tenant(folder: Path) -> None:
    cli = program(folder, """printf '{"accessToken": "%s", "expiresOn": "x"}' "$(echo "$*" | tr ' ' _)\"""")
    assert await cli.token(RESOURCE) == f"account_get-access-token_--resource_{RESOURCE}_--output_json"
    assert "--tenant_t.example_" in await cli.token(RESOURCE, "t.example")


async def test_nobody_can_be_asked_for_input_in_its_place(folder: Path) -> None:
    assert await program(folder, 'read answer; echo "{\\"accessToken\\": \\"t$answer\\"}"').token(RESOURCE) == "t"


async def test_its_last_word_is_the_cause_of_a_failure(folder: Path) -> None:
    error = await refused(program(folder, "echo noise >&2; echo \"ERROR: Please run 'az login'\" >&2; exit 1"))
    assert error.cause == "ERROR: Please run 'az login'"
    assert "az login" in error.remedy
    assert (await refused(program(folder, "exit 3"))).cause == "it ended with code 3"


@pytest.mark.parametrize("script", ["echo nonsense", "echo []", "echo '{}'", """echo '{"accessToken": 7}'""", "exit 0"])
async def test_an_answer_without_a_token_is_told(folder: Path, script: str) -> None:
    assert "no access token" in (await refused(program(folder, script))).cause


async def test_a_program_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_cli, "LIMIT", 0.1)
    assert "did not answer" in (await refused(program(folder, "sleep 1000; exit 0"))).cause


async def test_a_program_that_writes_without_end_is_ended(folder: Path) -> None:
    assert "more than" in (await refused(program(folder, "yes; exit 0"))).cause


async def test_a_program_that_cannot_be_run_is_told(folder: Path) -> None:
    cli = program(folder, "")
    cli.program.write_text("#!/no/such/interpreter\n")
    assert (await refused(cli)).cause


def test_without_the_program_the_other_ways_are_named(folder: Path) -> None:
    with pytest.raises(AzcmError) as caught:
        find_azure_cli({"PATH": str(folder)})
    assert caught.value.number == 41
    assert "--use-device-code" in caught.value.remedy


@pytest.mark.parametrize("what", ["folder", "program"])
def test_a_program_that_others_could_change_is_not_run(folder: Path, what: str) -> None:
    cli = program(folder, "")
    (folder if what == "folder" else cli.program).chmod(0o777)
    with pytest.raises(AzcmError) as caught:
        find_azure_cli({"PATH": str(folder)})
    assert caught.value.number == 41
    assert "other users may change" in caught.value.cause
