"""`arcgate policy` and `machine-group`: from the first observation to the enforced draft, and back."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.errors import ArcgateError
from worlds.authority import Authority
from worlds.command_line import CommandLine
from worlds.databases import Database
from worlds.policy_run import PolicyRun, policy_run

pytestmark = pytest.mark.anyio

EDGE = ("--name", "edge", "--resource-group", "servers")


@pytest.fixture
async def run(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PolicyRun]:
    async with policy_run(authority, tmp_path, Database(), monkeypatch) as made:
        await made.add_machine("web", role="web")
        yield made


@pytest.fixture
async def command(run: PolicyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    line = CommandLine(run.control, tmp_path / "profile")
    line.install(monkeypatch)
    return line


async def test_an_operator_learns_reviews_enforces_and_takes_back(
    run: PolicyRun, command: CommandLine, tmp_path: Path
) -> None:
    assert json.loads(await command.succeed("policy", "set", *EDGE, "--mode", "audit"))["mode"] == "audit"
    before = run.node.policy.snapshot.revision + 1
    await run.patch(allowedFeatures=[])
    for target in ("pas.windows.net:443", "deb.mirror.example:443"):
        assert await run.fetch("web", target) == 200
    await run.send_audit()
    assert "deb.mirror.example" in await command.succeed("audit", "--verdict", "audited")
    draft = str(tmp_path / "draft.json")
    table = await command.succeed("policy", "propose", *EDGE, "--since", "1h", "--file", draft)
    assert "ArcCore" in table
    assert (await command.run("policy", "replay", draft)).exit_code == 0
    await command.succeed("policy", "apply", draft, "--yes")
    await run.follow()
    assert await run.fetch("web", "deb.mirror.example:443") == 200
    assert await run.fetch("web", "evil.example:443") == 403
    explained = await command.succeed("policy", "explain", "web", "evil.example")
    assert "target_not_allowed" in explained
    history = await command.succeed("policy", "history", "--output", "table")
    assert "+learned-edge" in history
    assert "learned-edge" in await command.succeed("policy", "diff", str(before))
    assert "restored gateway edge" in await command.succeed("policy", "rollback", str(before), "--yes")
    await run.follow()
    assert await run.fetch("web", "evil.example:443") == 200


async def test_a_replay_that_would_cut_something_shows_it_and_fails(
    run: PolicyRun, command: CommandLine, tmp_path: Path
) -> None:
    assert await run.fetch("web", "pas.windows.net:443") == 200
    await run.send_audit()
    draft = tmp_path / "draft.json"
    draft.write_text(json.dumps({"gateway": run.gateway_id, "allowedFeatures": ["Monitor"]}))
    result = await command.run("policy", "replay", str(draft), "--since", "1h")
    assert result.exit_code == 1
    assert "pas.windows.net:443" in result.stdout
    assert "cut: 1 requests of 1 machines to 1 targets" in result.stderr


async def test_a_draft_that_is_half_written_says_what_is_and_how_to_go_on(
    run: PolicyRun, command: CommandLine, tmp_path: Path
) -> None:
    await run.patch(policy={"mode": "audit"})
    before = run.node.policy.snapshot.revision
    file = tmp_path / "draft.json"
    learned = {"name": "learned-edge", "endpoints": ["deb.mirror.example"], "allowPrivate": False}
    wrong = {**learned, "name": "Storage"}
    document = {"gateway": run.gateway_id, "allowedFeatures": ["learned-edge"], "endpointSets": [learned, wrong]}
    file.write_text(json.dumps(document))
    assert (await failure(command, "replay", file)).code == "InvalidResourceName"
    half = await failure(command, "apply", file, "--yes")
    assert half.code == "DRAFT_HALF_APPLIED"
    assert half.sentence.startswith("Of the draft, only the endpoint sets learned-edge were written")
    assert half.cause.startswith("InvalidResourceName: There is a feature or scenario named 'Storage'")
    assert half.remedy.endswith(f"arcgate policy rollback {before}")
    file.write_text(json.dumps({**document, "endpointSets": [learned]}))
    assert "Enforced for edge." in await command.succeed("policy", "apply", str(file), "--yes")
    assert json.loads(await command.succeed("policy", "show", *EDGE))["mode"] == "enforce"
    await command.succeed("policy", "rollback", str(before), "--yes")
    assert json.loads(await command.succeed("endpoint-set", "list")) == []
    file.write_text(json.dumps({**document, "machineGroup": "nobody"}))
    assert (await failure(command, "apply", file, "--yes")).code == "MachineGroupNotFound"
    assert json.loads(await command.succeed("endpoint-set", "list")) == []


async def failure(command: CommandLine, name: str, *words: object) -> ArcgateError:
    """Return the error that a command of `policy` ends with."""
    result = await command.run("policy", name, *map(str, words))
    assert isinstance(result.exception, ArcgateError), result
    return result.exception


async def test_an_audit_without_anything_is_said_to_prove_nothing(
    run: PolicyRun, command: CommandLine, tmp_path: Path
) -> None:
    draft = str(tmp_path / "draft.json")
    proposed = await command.run("policy", "propose", *EDGE, "--file", draft)
    replayed = await command.run("policy", "replay", draft)
    assert (proposed.exit_code, replayed.exit_code) == (0, 0)
    assert "would allow nothing at all" in proposed.stderr
    assert "says nothing about the draft" in replayed.stderr


async def test_settings_are_changed_one_by_one_and_taken_back(run: PolicyRun, command: CommandLine) -> None:
    await command.succeed("policy", "set", *EDGE, "--pin", "*.blob.core.windows.net=mine,yours")
    await command.succeed("policy", "set", *EDGE, "--parameter", "vault=mine", "--server-name", "audit")
    settings = json.loads(await command.succeed("policy", "show", *EDGE))
    names = ["mine.blob.core.windows.net", "yours.blob.core.windows.net"]
    assert settings["pins"] == {"*.blob.core.windows.net": names}
    assert (settings["parameters"], settings["serverName"]) == ({"vault": ["mine"]}, "audit")
    await run.follow()
    assert await run.fetch("web", "mine.blob.core.windows.net:443") == 200
    assert await run.fetch("web", "other.blob.core.windows.net:443") == 403
    (observed,) = [one for one in run.node.records(Event.REFUSAL) if one.verdict == "audited"]
    assert observed.reason == "server_name_differs"
    settings = json.loads(
        await command.succeed(*("policy", "set", *EDGE), "--pin", "*.blob.core.windows.net=", "--parameter", "vault=")
    )
    assert (settings["pins"], settings["parameters"]) == ({}, {})
    assert (await command.run("policy", "set", *EDGE, "--pin", "*.com=a")).exit_code != 0
    assert (await command.run("policy", "set", *EDGE)).exit_code == 2


async def test_a_machine_group_narrows_its_machines_until_it_is_deleted(run: PolicyRun, command: CommandLine) -> None:
    group = ("--name", "Web", "--resource-group", "servers")
    words = ("machine-group", "create", *group, "--tags", "role=web", "--allowed-features", "Monitor", "ArcData")
    made = json.loads(await command.succeed(*words, "--daily-bytes", "1000"))
    assert made["properties"]["limits"]["dailyBytes"] == 1000
    await run.follow()
    assert await run.fetch("web", "pas.windows.net:443") == 403
    assert "Web" in await command.succeed("machine-group", "list", "--output", "table")
    assert json.loads(await command.succeed("machine-group", "show", *group))["name"] == "Web"
    changed = json.loads(await command.succeed("machine-group", "update", *group, "--tunnels", "7"))["properties"]
    assert changed == {**made["properties"], "limits": {**made["properties"]["limits"], "tunnels": 7}}
    assert (await command.run("machine-group", "update", *group)).exit_code == 2
    first = await command.run("machine-group", "delete", *group, "--yes")
    assert (first.exit_code, first.stderr) == (0, "")
    again = await command.run("machine-group", "delete", *group, "--yes")
    assert (again.exit_code, again.stderr) == (0, "There was no machine group Web.\n")
    await run.follow()
    assert await run.fetch("web", "pas.windows.net:443") == 200
