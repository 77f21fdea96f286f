"""`azcmagent check` as a command: what it prints, and its exit code."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.agent.state import HimdsState, write_himds_state
from arcgate.core.instances import CLONED
from worlds.agent_machine import AgentMachine, agent_machine
from worlds.authority import Authority
from worlds.fake_gateway import FakeGateway, closed_port, fake_gateway

pytestmark = pytest.mark.anyio

START = "from arcgate.agent.commands.main import main; main()"


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as one:
        one.set_certificate(authority)
        yield one


@pytest.fixture
async def gateway(machine: AgentMachine, authority: Authority) -> AsyncIterator[FakeGateway]:
    async with fake_gateway(authority, authority) as one:
        machine.set_goal(port=one.port, control=("*.arcgate.test",))
        yield one


async def _check(machine: AgentMachine, *arguments: str) -> tuple[int, str]:
    environment = {"AZCMAGENT_HOME": str(machine.paths.home), "AZCMAGENT_CLOUDS": str(machine.paths.clouds)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, "check", *arguments, env=environment, stdout=PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_broken_network_ends_with_26_and_says_what_to_do(machine: AgentMachine, gateway: FakeGateway) -> None:
    machine.set(gateway_address=f"127.0.0.1:{closed_port()}")
    code, output = await _check(machine)
    assert code == 26
    assert output.startswith("connection.type : gateway\n")
    assert "What to do: Check that the service is running" in output


async def test_a_wrong_clock_and_a_clone_are_named(machine: AgentMachine, gateway: FakeGateway) -> None:
    told = HimdsState(error_code=CLONED, error_details="Another machine reports.", server_time_offset=-7200.0)
    write_himds_state(machine.paths, told)
    _, output = await _check(machine)
    assert "2 hours fast" in output
    assert "Another machine reports." in output


async def test_json_holds_every_hop(machine: AgentMachine, gateway: FakeGateway) -> None:
    closed = f"127.0.0.1:{closed_port()}"
    code, output = await _check(machine, "--json", "--endpoint", closed)
    document = json.loads(output)
    assert code == 26
    by_name = {row["endpoint"]: row for row in document["endpoints"]}
    assert by_name["prefix.gw.arcgate.test:443"]["reachable"] is True
    assert by_name["management.arcgate.test:443"]["failedHop"] == "policy"
    assert [hop["hop"] for hop in by_name["management.arcgate.test:443"]["hops"]][-2:] == ["gateway", "policy"]
    assert by_name[closed]["failedHop"] == "TCP"


async def test_a_page_is_written_where_it_was_asked_for_and_never_elsewhere(
    machine: AgentMachine, gateway: FakeGateway, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    await _check(machine, "--html", str(page))
    assert "prefix.gw.arcgate.test" in page.read_text()
    code, _ = await _check(machine, "--html", str(page / "below"))
    assert code == 101


async def test_an_endpoint_that_is_none_is_a_wrong_argument(machine: AgentMachine) -> None:
    code, output = await _check(machine, "--endpoint", "a b")
    assert code == 23
    assert "Traceback" not in output


async def test_an_unknown_cloud_is_a_cloud_error(machine: AgentMachine) -> None:
    code, output = await _check(machine, "--cloud", "Nowhere", "--location", "eastus")
    assert code == 75
    assert "Nowhere" in output
