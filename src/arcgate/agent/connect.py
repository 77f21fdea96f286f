"""Onboarding: this machine becomes a resource of the cloud, with a key and certificate of its own.

Steps, each of which the next may still undo: key, machine resource, gateway association, certificate, goal. Writing
agentconfig.json is the last one; from then on the machine is connected and the services work for it.
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from arcgate.agent.agent_service import AgentService, discover
from arcgate.agent.arm import ResourceManager, is_missing_group, machine_resource
from arcgate.agent.cloud import Cloud
from arcgate.agent.connect_request import ConnectRequest
from arcgate.agent.errors import AzcmError, as_azcm
from arcgate.agent.http import ServiceRefusal
from arcgate.agent.login import get_token
from arcgate.agent.machine_document import has_vm_id, machine_document, own_vm_id
from arcgate.agent.machine_key import KeyKind, MachineKey, store_certificate
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import MachineFacts
from arcgate.agent.rollback import Rollback
from arcgate.agent.state import (
    MACHINE_NOT_FOUND,
    AgentIdentity,
    read_himds_state,
    read_identity,
    write_goal,
    write_identity,
)
from arcgate.core.errors import ArcgateError, HopError
from arcgate.core.resource_ids import ResourceId
from arcgate.core.routing import Goal
from arcgate.net.http_client import HttpClient

NAME_TAKEN = frozenset({"MachineIdentityConflict", "VmIdInUse"})
"""Codes of refusals that are about another machine's resource."""
CONNECT_TIMEOUT = 10 * 60
"""Seconds for everything after the sign-in."""


@dataclass(slots=True)
class Onboarding:
    """One run of `azcmagent connect`. `progress` takes percent, `tell` a line for the person who waits."""

    paths: AgentPaths
    cloud: Cloud
    http: HttpClient
    facts: MachineFacts
    clock: Callable[[], datetime]
    tell: Callable[[str], None]
    progress: Callable[[int], None]
    _rollback: Rollback = field(default_factory=Rollback)
    _is_resource_left: bool = False
    """Whether the resource could not be rolled back: the key alone lets us go on with it."""

    async def run(self, request: ConnectRequest) -> AgentIdentity:
        """Connect the machine, or see that it is connected; raises AzcmError, after rolling back."""
        known = read_identity(self.paths)
        if known is not None:
            return await self._already_connected(request, known)
        self.tell(f"Connecting machine to {self.cloud.name}... This might take a few minutes.")
        try:
            endpoint = await self._check_network(request)
            token = await self._token(request)
            self.progress(20)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._onboard(request, token, endpoint)
        except TimeoutError:
            await self._rollback.run(self.tell)
            raise AzcmError(62, f"Connecting took longer than {CONNECT_TIMEOUT} seconds.") from None
        except asyncio.CancelledError:
            self.tell("Cancelled; undoing what was done.")
            await self._rollback.run(self.tell)
            raise AzcmError(11, "Connecting was cancelled.") from None
        except ArcgateError as error:
            await self._rollback.run(self.tell)
            raise as_azcm(error) if isinstance(error, HopError) else as_azcm(error, 62) from None
        except OSError as error:
            await self._rollback.run(self.tell)
            raise AzcmError(62, "A file of the agent can't be written.", cause=str(error)) from None

    async def _onboard(self, request: ConnectRequest, token: str, endpoint: str) -> AgentIdentity:
        manager = ResourceManager(self.http, self.cloud.resource_manager, token, request.correlation_id)
        subscription = await self._subscription(request, manager)
        resource = machine_resource(subscription, request.resource_group, request.resource_name)
        key = self._key(request.key_kind)
        self.progress(30)
        vm_id, document = await self._create(request, manager, resource, key)
        self.progress(60)
        if request.private_link_scope:
            self.tell(
                "The private link scope is noted with the machine; that the cloud's names lead to private addresses "
                "is your DNS's part: 'azcmagent check --enable-pls-check' looks."
            )
        if request.gateway_id:
            await self._associate(manager, resource, request.gateway_id)
        endpoint = endpoint or await self._discover(request.location)
        service = AgentService(self.http, endpoint, vm_id, key, self.clock)
        goal = await self._enrol(service)
        self.progress(80)
        identity = self._identity(request, resource, vm_id, document, endpoint)
        self._rollback.add_file("the stored goal", lambda: self.paths.goal.unlink(missing_ok=True))
        write_goal(self.paths, goal)
        write_identity(self.paths, identity)
        self.progress(100)
        return identity

    async def _already_connected(self, request: ConnectRequest, known: AgentIdentity) -> AgentIdentity:
        differences = request.differences(known)
        resource = machine_resource(known.subscription_id, known.resource_group, known.resource_name)
        if differences or read_himds_state(self.paths).error_code == MACHINE_NOT_FOUND:
            raise AzcmError(
                67,
                f"This machine is connected already, as {resource}.",
                cause="; ".join(differences) or "that resource does not exist any more",
                remedy="Run 'azcmagent disconnect' first (with --force-local-only if the resource is gone).",
            )
        self.tell(f"The machine is already connected to {self.cloud.name}.")
        if request.gateway_id:
            try:
                manager = ResourceManager(self.http, self.cloud.resource_manager, await self._token(request))
                if (await manager.associated_gateway(resource)).lower() != request.gateway_id.lower():
                    await self._associate(manager, resource, request.gateway_id)
                    self.tell("Its gateway has been changed.")
            except ServiceRefusal as error:
                raise _refused(error, "The machine's gateway can't be read.") from None
        return known

    async def _check_network(self, request: ConnectRequest) -> str:
        """Return the regional endpoint: the first request, which changes nothing, shows whether there is a way."""
        try:
            return await self._discover(request.location)
        except HopError:
            if request.ignore_network_check:
                return ""
            raise

    async def _discover(self, location: str) -> str:
        try:
            return await discover(self.http, self.cloud.his, location)
        except ServiceRefusal as error:
            if error.status == 400:
                raise AzcmError(20, f"{location} is not a location of this cloud.", cause=error.sentence) from None
            raise AzcmError(26, "The agent service is not available.", cause=error.one_line()) from None

    async def _token(self, request: ConnectRequest) -> str:
        return await get_token(self.http, self.cloud, request.credentials, self.tell)

    async def _subscription(self, request: ConnectRequest, manager: ResourceManager) -> str:
        if request.has_subscription_id:
            return request.subscription
        try:
            found = await manager.subscription_named(request.subscription)
        except ServiceRefusal as error:
            raise _refused(error, "The subscriptions can't be listed.", 68) from None
        if found is None:
            raise AzcmError(
                68,
                f"There is no single subscription named {request.subscription!r}.",
                remedy="Give the subscription's id with --subscription-id.",
            )
        return found

    def _key(self, kind: KeyKind) -> MachineKey:
        # A key that is here already was made ahead (genkey), or by a run that was killed: both go on with it.
        if self.paths.machine_key.exists():
            return MachineKey.load(self.paths.machine_key)
        self._rollback.add("the machine's key", self._remove_key)
        key = MachineKey.generate(kind)
        key.store(self.paths.machine_key)
        return key

    async def _remove_key(self) -> bool:
        if self._is_resource_left:
            self.tell("The machine's key stays: with it, the next 'azcmagent connect' goes on with that resource.")
            return False
        self.paths.machine_key.unlink(missing_ok=True)
        return True

    async def _create(
        self, request: ConnectRequest, manager: ResourceManager, resource: ResourceId, key: MachineKey
    ) -> tuple[str, dict[str, Any]]:
        try:
            existing = await manager.machine(resource)
            if existing is not None:
                vm_id = own_vm_id(existing, resource, key)
                return vm_id, await manager.put_machine(resource, machine_document(request, self.facts, vm_id, key))
            vm_id = str(uuid.uuid4())
            self._undo_resource(manager, resource, vm_id)
            self.tell(
                f"Creating resource in {self.cloud.name}... "
                f"Correlation ID={request.correlation_id} Resource ID={resource}"
            )
            return vm_id, await self._put(request, manager, resource, machine_document(request, self.facts, vm_id, key))
        except ServiceRefusal as error:
            raise _refused(error, f"The resource {resource} can't be created.") from None

    def _undo_resource(self, manager: ResourceManager, resource: ResourceId, vm_id: str) -> None:
        async def undo() -> bool:
            self._is_resource_left = True
            # The request may have failed before it had any effect, or a resource of another's may be there.
            existing = await manager.machine(resource)
            is_ours = existing is not None and has_vm_id(existing, vm_id)
            deleted = is_ours and await manager.delete_machine(resource)
            self._is_resource_left = False
            return deleted

        self._rollback.add(f"the resource {resource}", undo)

    async def _put(
        self, request: ConnectRequest, manager: ResourceManager, resource: ResourceId, document: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            return await manager.put_machine(resource, document)
        except ServiceRefusal as error:
            if not is_missing_group(error):
                raise
        try:
            await manager.create_group(resource.subscription_id, resource.resource_group, request.location)
            self.tell(f"Created the resource group {resource.resource_group}.")
        except ServiceRefusal as error:
            raise AzcmError(
                42,
                f"The resource group {resource.resource_group} does not exist, and can't be created.",
                cause=error.one_line(),
                remedy="Create it first, or use an account that may.",
            ) from None
        return await manager.put_machine(resource, document)

    async def _associate(self, manager: ResourceManager, resource: ResourceId, gateway_id: str) -> None:
        try:
            await manager.associate_gateway(resource, gateway_id)
        except ServiceRefusal as error:
            raise _refused(error, f"The machine can't be associated with the gateway {gateway_id}.") from None

    async def _enrol(self, service: AgentService) -> Goal:
        """Get the certificate and the first goal."""
        try:
            chain = await service.certificate()
            self._rollback.add_file(
                "the machine's certificate", lambda: self.paths.machine_certificate.unlink(missing_ok=True)
            )
            store_certificate(self.paths, chain)
            return await service.goal(0, wait=0) or Goal()
        except ServiceRefusal as error:
            raise AzcmError(
                81,
                "The agent service gave the machine no certificate.",
                cause=error.one_line(),
                remedy="Check the machine's clock, and retry.",
            ) from None

    def _identity(
        self, request: ConnectRequest, resource: ResourceId, vm_id: str, document: dict[str, Any], endpoint: str
    ) -> AgentIdentity:
        identity = document.get("identity")
        identity = identity if isinstance(identity, dict) else {}
        return AgentIdentity(
            subscription_id=resource.subscription_id,
            resource_group=resource.resource_group,
            resource_name=resource.name,
            resource_id=str(resource),
            tenant_id=str(identity.get("tenantId") or request.tenant_id),
            location=request.location,
            vm_id=vm_id,
            cloud=self.cloud.name,
            correlation_id=request.correlation_id,
            principal_id=str(identity.get("principalId") or ""),
            his_endpoint=endpoint,
            private_link_scope=request.private_link_scope,
        )


def _refused(error: ServiceRefusal, sentence: str, number: int = 42) -> AzcmError:
    remedies = {
        400: "Correct what it names, and run the command again.",
        401: "Sign in again: the access token is invalid or has expired.",
        403: "Use an account with the role 'Azure Connected Machine Onboarding' on the resource group.",
        404: "Check subscription, resource group and gateway id.",
        409: "Give another --resource-name, or see to what is in the way.",
    }
    number = 44 if error.code in NAME_TAKEN else 41 if error.status == 401 else number
    return AzcmError(number, sentence, cause=error.one_line(), remedy=remedies.get(error.status, "Retry."))
