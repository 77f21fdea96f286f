"""A control plane's context over a fresh database, with tenants, machines and gateways on demand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.routing import Route

from arcgate.control.arm.publication import (
    publish_gateway,
    publish_machine,
    publish_tenant_part,
    withdraw_machine,
    withdraw_tenant_part,
)
from arcgate.control.authority import Authority, load_authority
from arcgate.control.changes import Changes
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError
from arcgate.control.login.tokens import Tokens
from arcgate.control.store import Store, open_store
from arcgate.control.store.models import (
    Base,
    EndpointSetRow,
    GatewayRow,
    MachineRow,
    ResourceGroup,
    Revision,
    SettingRow,
    Subscription,
    Tenant,
)
from arcgate.control.store.sealing import Sealer, load_sealer
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.configuration import Configuration
from arcgate.core.snapshot import Kind
from worlds.databases import Database

TENANT = "11111111-1111-4111-8111-111111111111"
SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/servers"


@dataclass
class Clock:
    """The real time, plus what the test adds to it."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        """Return the present time."""
        return datetime.now(UTC) + self.ahead


@dataclass
class ControlServices:
    """A context and what a test does to its resources."""

    context: ControlContext
    clock: Clock

    def app(self, *routes: Route) -> Starlette:
        """Return an application of these routes, with refusals answered as in the product."""

        async def answer(_request: Any, error: Exception) -> Any:
            assert isinstance(error, ApiError)
            return error.to_response()

        return Starlette(routes=list(routes), exception_handlers={ApiError: answer})

    async def add_gateway(self, *features: str, prefix: str = "abc", bypass: tuple[str, ...] = ()) -> GatewayRow:
        """Create a gateway with these features."""
        row = GatewayRow(
            **self._resource("Microsoft.HybridCompute/gateways", f"gw-{prefix}"),
            prefix=prefix,
            gateway_type="Public",
            allowed_features=list(features) or ["*"],
            bypass=list(bypass),
        )
        async with self.context.store.write() as transaction:
            transaction.session.add(row)
            await transaction.session.flush()
            await publish_gateway(transaction, row)
        return row

    async def change_features(self, row: GatewayRow, *features: str) -> None:
        """Set a gateway's features."""
        async with self.context.store.write() as transaction:
            row = await transaction.session.merge(row)
            row.allowed_features = list(features)
            await publish_gateway(transaction, row)

    async def add_machine(self, public_key: str = "", gateway: GatewayRow | None = None) -> MachineRow:
        """Create a machine, associated with the gateway."""
        row = MachineRow(
            **self._resource("Microsoft.HybridCompute/machines", f"server-{uuid4().hex[:6]}"),
            principal_id=str(uuid4()),
            client_public_key=public_key,
            kind=None,
            properties={},
        )
        async with self.context.store.write() as transaction:
            transaction.session.add(row)
            await transaction.session.flush()
            if gateway is not None:
                transaction.session.add(SettingRow(machine_id=row.id, gateway_id=gateway.id))
            await publish_machine(transaction, row)
        return row

    async def associate(self, machine: MachineRow, gateway: GatewayRow | None) -> None:
        """Associate the machine with the gateway, or with none."""
        async with self.context.store.write() as transaction:
            gateway_id = gateway.id if gateway is not None else None
            await transaction.session.merge(SettingRow(machine_id=machine.id, gateway_id=gateway_id))
            await publish_machine(transaction, machine)

    async def remove_machine(self, machine: MachineRow) -> None:
        """Delete the machine."""
        async with self.context.store.write() as transaction:
            await transaction.session.delete(await transaction.session.merge(machine))
            await withdraw_machine(transaction, machine.id)

    async def add_endpoint_set(self, name: str, *endpoints: str) -> EndpointSetRow:
        """Create an endpoint set."""
        row = EndpointSetRow(
            **self._resource("Arcgate.Network/endpointSets", name),
            endpoints=list(endpoints),
            allow_private=True,
            description="",
        )
        async with self.context.store.write() as transaction:
            transaction.session.add(row)
            await transaction.session.flush()
            await publish_tenant_part(transaction, row)
        return row

    async def remove_endpoint_set(self, row: EndpointSetRow) -> None:
        """Delete the endpoint set."""
        async with self.context.store.write() as transaction:
            await transaction.session.delete(await transaction.session.merge(row))
            await withdraw_tenant_part(transaction, row)

    def _resource(self, kind: str, name: str) -> dict[str, Any]:
        resource_id = f"{GROUP}/providers/{kind}/{name}"
        return {
            **_stamps(self.clock()),
            "id": str(uuid4()),
            "key": resource_id.lower(),
            "group_key": GROUP.lower(),
            "subscription_id": SUBSCRIPTION,
            "tenant_id": TENANT,
            "resource_id": resource_id,
            "name": name,
            "location": "eastus",
            "tags": None,
        }


def _stamps(now: datetime) -> dict[str, Any]:
    who = {"created_by": "test", "created_by_type": "User", "modified_by": "test", "modified_by_type": "User"}
    return {**who, "created_at": now, "modified_at": now}


@asynccontextmanager
async def control_services(
    folder: Path, database: Database | None = None, **settings: Any
) -> AsyncIterator[ControlServices]:
    """Yield services over a new database, which is SQLite below the folder unless another one is given."""
    url = (database or Database()).url(folder)
    configuration = Configuration.model_validate({"state_dir": folder, "database": {"url": url}, **settings})
    changes, clock, sealer = Changes(), Clock(), load_sealer(folder)
    store = open_store(configuration, changes)
    try:
        await _fill(store, configuration, clock())
        authority = await load_authority(store, sealer, clock, configuration.control.certificate_days)
        yield ControlServices(_context(configuration, store, changes, clock, sealer, authority), clock)
    finally:
        changes.close()
        await store.close()


async def _fill(store: Store, configuration: Configuration, now: datetime) -> None:
    async with store.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with store.write() as transaction:
        transaction.session.add(Revision(id=1, value=0))
        await transaction.session.flush()
        transaction.session.add(Tenant(id=TENANT, display_name="Test", domain="test.example"))
        await transaction.session.flush()
        transaction.session.add(Subscription(id=SUBSCRIPTION, tenant_id=TENANT, display_name="Test"))
        await transaction.session.flush()
        group = {"key": GROUP.lower(), "subscription_id": SUBSCRIPTION, "name": "servers", "location": "eastus"}
        transaction.session.add(ResourceGroup(**_stamps(now), **group, tags=None))
        domain = configuration.cloud.domain
        await transaction.publish(Kind.CLOUD, "cloud", {"domain": domain, "controlHosts": [f"management.{domain}"]})


def _context(
    configuration: Configuration, store: Store, changes: Changes, clock: Clock, sealer: Sealer, authority: Authority
) -> ControlContext:
    return ControlContext(
        configuration=configuration,
        store=store,
        changes=changes,
        clock=clock,
        sealer=sealer,
        catalogue=shipped_catalogue(),
        tokens=Tokens(configuration, store, sealer, clock),
        authority=authority,
    )
