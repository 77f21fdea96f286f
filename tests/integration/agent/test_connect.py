"""Onboarding against a real control plane: what holds after success, and after a failure at each step."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from arcgate.agent.connect import Onboarding
from arcgate.agent.connect_request import ConnectRequest, parse_request
from arcgate.agent.disconnect import Offboarding, remove_local_state
from arcgate.agent.errors import AzcmError
from arcgate.agent.login import Credentials
from arcgate.agent.machine_key import MachineKey, now, read_certificate
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import current
from arcgate.agent.state import read_goal, read_identity
from arcgate.control.arm.roles import ONBOARDING
from worlds.agent_cloud import AgentCloud, Fault, agent_cloud
from worlds.authority import Authority

pytestmark = pytest.mark.anyio


@dataclass
class Machine:
    """A machine that somebody onboards."""

    cloud: AgentCloud
    paths: AgentPaths
    credentials: Credentials
    told: list[str] = field(default_factory=list)
    percents: list[int] = field(default_factory=list)

    def request(self, **flags: Any) -> ConnectRequest:
        return parse_request(
            **{
                "resource_group": "servers",
                "location": "eastus",
                "subscription": self.cloud.plane.subscription_id,
                "tenant_id": self.cloud.plane.tenant_id,
                "resource_name": "box",
                "credentials": self.credentials,
                **flags,
            }
        )

    def onboarding(self) -> Onboarding:
        return Onboarding(
            self.paths,
            self.cloud.cloud,
            self.cloud.client(),
            current().facts(),
            now,
            self.told.append,
            self.percents.append,
        )

    async def connect(self, **flags: Any) -> None:
        await self.onboarding().run(self.request(**flags))

    async def refused(self, **flags: Any) -> AzcmError:
        with pytest.raises(AzcmError) as caught:
            await self.connect(**flags)
        return caught.value

    def is_clean(self) -> bool:
        names = (
            self.paths.agent_configuration,
            self.paths.machine_key,
            self.paths.machine_certificate,
            self.paths.goal,
        )
        return not any(path.exists() for path in names)


@pytest.fixture
async def cloud(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentCloud]:
    async with agent_cloud(tmp_path, authority) as found:
        yield found


@pytest.fixture
async def machine(cloud: AgentCloud, tmp_path: Path) -> Machine:
    await cloud.plane.group()
    return Machine(cloud, cloud.machine(tmp_path / "agent"), await cloud.credentials())


async def test_a_connected_machine_has_resource_key_certificate_goal_and_identity(machine: Machine) -> None:
    gateway = (await machine.cloud.plane.gateway()).json()
    await machine.connect(gateway_id=gateway["id"], tags="role=web,'cost centre'='a, b'")

    [resource] = await machine.cloud.machines()
    identity = read_identity(machine.paths)
    key = MachineKey.load(machine.paths.machine_key)
    certificate = read_certificate(machine.paths)
    goal = read_goal(machine.paths)
    assert identity is not None
    assert (identity.resource_id, identity.vm_id) == (resource["id"], resource["properties"]["vmId"])
    assert identity.his_endpoint == "https://eastus.his.arcgate.test"
    assert resource["tags"] == {"role": "web", "cost centre": "a, b"}
    assert resource["properties"]["clientPublicKey"] == key.client_public_key
    assert certificate is not None
    assert key.matches(certificate)
    assert goal is not None
    assert goal.gateway_host == gateway["properties"]["gatewayEndpoint"]
    assert machine.percents == [20, 30, 60, 80, 100]


async def test_the_key_is_readable_by_its_owner_alone(machine: Machine) -> None:
    await machine.connect()
    assert machine.paths.machine_key.stat().st_mode & 0o777 in {0o600, 0o640}
    assert machine.paths.layout.certificates.stat().st_mode & 0o007 == 0


async def test_a_missing_resource_group_is_created(machine: Machine) -> None:
    await machine.connect(resource_group="fresh")
    assert "Created the resource group fresh." in machine.told


async def test_a_missing_resource_group_that_may_not_be_created_is_named(machine: Machine) -> None:
    machine.credentials = await machine.cloud.credentials(ONBOARDING)
    error = await machine.refused(resource_group="fresh")
    assert error.number == 42
    assert "fresh" in error.sentence
    assert machine.is_clean()


async def test_the_onboarding_role_is_enough_where_the_group_exists(machine: Machine) -> None:
    gateway = (await machine.cloud.plane.gateway()).json()
    machine.credentials = await machine.cloud.credentials(ONBOARDING)
    await machine.connect(gateway_id=gateway["id"])
    assert read_identity(machine.paths) is not None


async def test_a_private_link_scope_is_noted_in_the_cloud_and_here(machine: Machine) -> None:
    scope = f"/subscriptions/{machine.cloud.plane.subscription_id}/resourceGroups/net/providers/"
    await machine.connect(private_link_scope=scope + "microsoft.hybridcompute/PRIVATELINKSCOPES/inside")
    wanted = scope + "Microsoft.HybridCompute/privateLinkScopes/inside"
    identity = read_identity(machine.paths)
    assert identity is not None
    assert identity.private_link_scope == wanted
    [resource] = await machine.cloud.machines()
    assert resource["properties"]["privateLinkScopeResourceId"] == wanted
    assert any("--enable-pls-check" in line for line in machine.told)


async def test_a_subscription_may_be_given_by_its_name(machine: Machine) -> None:
    reply = await machine.cloud.plane.arm("GET", "/subscriptions", version="2022-12-01")
    await machine.connect(subscription=reply.json()["value"][0]["displayName"].upper())
    identity = read_identity(machine.paths)
    assert identity is not None
    assert identity.subscription_id == machine.cloud.plane.subscription_id


async def test_an_unknown_subscription_name_is_azcm0068(machine: Machine) -> None:
    assert (await machine.refused(subscription="Nowhere")).number == 68
    assert machine.is_clean()


async def test_connecting_again_changes_nothing(machine: Machine) -> None:
    await machine.connect()
    before = machine.paths.machine_key.read_bytes(), machine.paths.agent_configuration.read_bytes()
    requests = len(machine.cloud.door.requests)
    await machine.connect()
    assert (machine.paths.machine_key.read_bytes(), machine.paths.agent_configuration.read_bytes()) == before
    assert len(machine.cloud.door.requests) == requests
    assert "The machine is already connected to Arcgate." in machine.told


async def test_connecting_again_with_a_gateway_associates_it(machine: Machine) -> None:
    gateway = (await machine.cloud.plane.gateway()).json()["id"]
    await machine.connect()
    await machine.connect(gateway_id=gateway)
    assert await machine.cloud.associated("box") == gateway


@pytest.mark.parametrize(
    "flags",
    [{"resource_group": "other"}, {"resource_name": "other"}, {"location": "westeurope"}, {"cloud": "Other"}],
)
async def test_connecting_again_as_something_else_is_azcm0067(machine: Machine, flags: dict[str, str]) -> None:
    await machine.connect()
    error = await machine.refused(**flags)
    assert error.number == 67
    assert read_identity(machine.paths) is not None


async def test_a_name_of_another_machine_is_azcm0044_and_leaves_nothing(machine: Machine, tmp_path: Path) -> None:
    await machine.connect()
    other = replace(machine, paths=machine.cloud.machine(tmp_path / "other"), told=[])
    error = await other.refused()
    assert error.number == 44
    assert other.is_clean()
    assert len(await machine.cloud.machines()) == 1


async def test_a_wrong_secret_is_azcm0041(machine: Machine) -> None:
    wrong = replace(machine.credentials, client_secret="wrong-secret-value")
    error = await machine.refused(credentials=wrong)
    assert error.number == 41
    assert "wrong-secret-value" not in error.one_line()
    assert machine.is_clean()


async def test_an_unknown_location_is_azcm0020(machine: Machine) -> None:
    assert (await machine.refused(location="moon")).number == 20


async def test_an_unreachable_cloud_is_azcm0026_naming_the_hop(machine: Machine) -> None:
    machine.cloud.is_reachable = False
    error = await machine.refused()
    assert error.number == 26
    assert "gbl.his.arcgate.test" in error.sentence


FAILURES = [
    Fault("GET", "/machines/box"),
    Fault("PUT", "/machines/box"),
    Fault("PUT", "/machines/box", has_effect=True),
    Fault("PUT", "/settings/default"),
    Fault("PUT", "/settings/default", has_effect=True),
    Fault("POST", "/certificate"),
    Fault("POST", "/certificate", status=200, document={"certificate": "no certificate", "chain": ""}),
    Fault("GET", "/goal"),
    Fault("GET", "/goal", status=200, document={"revision": "none"}),
]


@pytest.mark.parametrize("fault", FAILURES, ids=lambda one: f"{one.method}{one.part}-{one.status}-{one.has_effect}")
async def test_a_failure_at_any_step_leaves_nothing_behind(machine: Machine, fault: Fault) -> None:
    gateway = (await machine.cloud.plane.gateway()).json()["id"]
    machine.cloud.door.faults = [replace(fault)]
    error = await machine.refused(gateway_id=gateway)
    assert error.number in {42, 62, 81, 107}
    assert machine.is_clean()
    assert await machine.cloud.machines() == []
    await machine.connect(gateway_id=gateway)
    assert read_identity(machine.paths) is not None


@pytest.mark.parametrize("part", ["/machines/box", "/settings/default", "/certificate", "/goal"])
async def test_cancelling_at_any_step_leaves_nothing_behind(machine: Machine, part: str) -> None:
    gateway = (await machine.cloud.plane.gateway()).json()["id"]
    reached = asyncio.Event()
    door = machine.cloud.door
    door.on_request = lambda line: reached.set() if line.endswith(part) and not line.startswith("DELETE") else None
    task = asyncio.create_task(machine.onboarding().run(machine.request(gateway_id=gateway)))  # noqa: TID251 - cancelled below
    await reached.wait()
    task.cancel()
    with pytest.raises(AzcmError) as caught:
        await task
    assert caught.value.number == 11
    assert machine.is_clean()
    assert await machine.cloud.machines() == []


async def test_a_resource_that_cannot_be_deleted_keeps_its_key_and_the_next_run_goes_on(machine: Machine) -> None:
    machine.credentials = await machine.cloud.credentials(ONBOARDING)
    machine.cloud.door.faults = [Fault("POST", "/certificate")]
    await machine.refused()
    [left] = await machine.cloud.machines()
    assert machine.paths.machine_key.exists()
    assert any(text.startswith("Not rolled back: the resource") for text in machine.told)
    await machine.connect()
    [resource] = await machine.cloud.machines()
    assert resource["properties"]["vmId"] == left["properties"]["vmId"]


async def test_disconnecting_removes_the_resource_and_everything_local(machine: Machine) -> None:
    await machine.connect()
    identity = read_identity(machine.paths)
    assert identity is not None
    offboarding = Offboarding(machine.cloud.cloud, machine.cloud.client(), machine.told.append)
    await offboarding.delete_resource(identity, machine.credentials)
    remove_local_state(machine.paths)
    assert machine.is_clean()
    assert await machine.cloud.machines() == []


async def test_a_refused_deletion_is_azcm0043_and_changes_nothing_here(machine: Machine) -> None:
    await machine.connect()
    identity = read_identity(machine.paths)
    assert identity is not None
    onboarder = await machine.cloud.credentials(ONBOARDING)
    offboarding = Offboarding(machine.cloud.cloud, machine.cloud.client(), machine.told.append)
    with pytest.raises(AzcmError) as caught:
        await offboarding.delete_resource(identity, onboarder)
    assert caught.value.number == 43
    assert read_identity(machine.paths) == identity
