"""A whole control plane in the test's own loop: migrated database, first tenant, tokens for whoever is needed."""

import atexit
import re
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import select
from starlette.applications import Starlette

from arcgate.control.app import create_app
from arcgate.control.arm.roles import OWNER, Role
from arcgate.control.building import open_control, utc_now
from arcgate.control.context import ControlContext
from arcgate.control.login.secrets import hash_secret
from arcgate.control.store.database import read_entries
from arcgate.control.store.models import Heartbeat, Principal, RoleAssignment, Subscription, Tenant
from arcgate.core.configuration import Configuration, DatabaseSettings
from arcgate.core.snapshot import Entry, Kind
from worlds.asgi import Reply, ask
from worlds.databases import Database
from worlds.postgresql import PostgresServer

BASE = "https://management.arcgate.test"
AUDIENCE = f"{BASE}/"
VERSION = "2026-07-15"
PASSWORD = "correct horse battery staple"


@dataclass
class Clock:
    """The real time, plus what the test adds to it."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        """Return the time."""
        return utc_now() + self.ahead

    def advance(self, **amount: float) -> None:
        """Let time go by."""
        self.ahead += timedelta(**amount)


@dataclass(frozen=True)
class Identity:
    """Somebody who calls: a principal and its access token."""

    principal: Principal
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """The Authorization header."""
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class ControlPlane:
    """The application, its context and the people who call it."""

    app: Starlette
    context: ControlContext
    clock: Clock
    tenant_id: str
    subscription_id: str
    admin: Identity

    async def arm(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        caller: Identity | None = None,
        version: str = VERSION,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Call ARM; a path without leading slash lies below the subscription."""
        place = path if path.startswith("/") else f"/subscriptions/{self.subscription_id}/{path}"
        separator = "&" if "?" in place else "?"
        full = f"{place}{separator}{urlencode({'api-version': version, **(query or {})})}"
        who = (caller or self.admin).headers
        return await ask(self.app, method, full, document=document, headers={**who, **(headers or {})})

    async def post_form(self, path: str, headers: Mapping[str, str] | None = None, /, **fields: str) -> Reply:
        """Send a form."""
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return await ask(self.app, "POST", path, body=urlencode(fields).encode(), headers={**kind, **(headers or {})})

    async def group(self, name: str = "servers", location: str = "eastus") -> Reply:
        """Make a resource group."""
        return await self.arm("PUT", f"resourceGroups/{name}", {"location": location}, version="2024-11-01")

    async def gateway(self, name: str = "gw", *features: str, caller: Identity | None = None) -> Reply:
        """Make a gateway in the group `servers`."""
        body = {
            "location": "eastus",
            "properties": {"allowedFeatures": list(features) or ["*"], "gatewayType": "Public"},
        }
        return await self.arm("PUT", f"{GATEWAYS}/{name}", body, caller=caller)

    async def machine(self, name: str = "server-1", **properties: Any) -> Reply:
        """Make a machine in the group `servers`."""
        body = {"location": "eastus", "properties": {"vmId": str(uuid.uuid4()), "osType": "linux", **properties}}
        return await self.arm("PUT", f"{MACHINES}/{name}", body)

    async def associate(self, machine: str, gateway_id: str | None, caller: Identity | None = None) -> Reply:
        """Associate a machine of the group `servers`."""
        body = {"properties": {"gatewayProperties": {"gatewayResourceId": gateway_id}}}
        return await self.arm("PUT", f"{MACHINES}/{machine}/{SETTINGS}", body, caller=caller)

    async def principal(
        self, role: Role | None = None, scope: str = "", tenant_id: str = "", kind: str = "ServicePrincipal"
    ) -> Identity:
        """Make a principal with a role at a scope (default: the subscription), and sign it in."""
        row = Principal(
            id=str(uuid.uuid4()),
            tenant_id=tenant_id or self.tenant_id,
            kind=kind,
            login=str(uuid.uuid4()) if kind == "ServicePrincipal" else f"user-{uuid.uuid4().hex[:6]}@arcgate.test",
            display_name="Somebody",
            secret_hash=hash_secret(PASSWORD),
            certificate="",
            is_enabled=True,
            created_at=self.clock(),
        )
        async with self.context.store.write() as transaction:
            transaction.session.add(row)
            await transaction.session.flush()
            if role is not None:
                place = (scope or f"/subscriptions/{self.subscription_id}").lower()
                transaction.session.add(_assignment(row, role, place, self.clock()))
        return await self.sign_in(row)

    async def sign_in(self, row: Principal) -> Identity:
        """Return the principal with an access token."""
        return Identity(row, await self.context.tokens.access_token(BASE, row, AUDIENCE, row.login))

    async def other_tenant(self) -> tuple[Identity, str]:
        """Make another tenant with a subscription, and return its owner and that subscription's id."""
        tenant = Tenant(id=str(uuid.uuid4()), display_name="Other", domain=f"{uuid.uuid4().hex[:8]}.test")
        subscription = Subscription(id=str(uuid.uuid4()), tenant_id=tenant.id, display_name="Other")
        async with self.context.store.write() as transaction:
            transaction.session.add(tenant)
            await transaction.session.flush()
            transaction.session.add(subscription)
        return await self.principal(OWNER, "/", tenant.id), subscription.id

    async def other_subscription(self) -> str:
        """Make another subscription of the same tenant."""
        row = Subscription(id=str(uuid.uuid4()), tenant_id=self.tenant_id, display_name="Second")
        async with self.context.store.write() as transaction:
            transaction.session.add(row)
        return row.id

    async def heartbeat(self, machine_id: str, **body: Any) -> None:
        """Note a report of a machine."""
        async with self.context.store.write() as transaction:
            await transaction.session.merge(Heartbeat(machine_id=machine_id, time=self.clock(), body=body))

    async def entries(self, kind: Kind, after: int = 0) -> list[Entry]:
        """Return what nodes see of a kind."""
        async with self.context.store.read() as session:
            _, found = await read_entries(session, after)
        return [entry for entry in found if entry.kind is kind]


GATEWAYS = "resourceGroups/servers/providers/Microsoft.HybridCompute/gateways"
MACHINES = "resourceGroups/servers/providers/Microsoft.HybridCompute/machines"
SETTINGS = "providers/Microsoft.HybridCompute/settings/default"
SETS = "resourceGroups/servers/providers/Arcgate.Network/endpointSets"


@asynccontextmanager
async def control_plane(
    folder: Path, database: Database | None = None, connections: int = 20, **settings: Any
) -> AsyncIterator[ControlPlane]:
    """Yield a control plane over a new state folder, with the first tenant, subscription and admin.

    Its database is SQLite in that folder unless another one is given.
    """
    state, template = folder / "state", "template0"
    database = database or Database()
    if "cloud" not in settings and not state.exists():
        first = await _first_state(database)
        shutil.copytree(first.state, state)
        template = first.template
    where = {"url": database.url(state, template), "connections": connections}
    configuration = Configuration.model_validate({"state_dir": state, "database": where, **settings})
    clock = Clock()
    async with open_control(configuration, clock) as context:
        async with context.store.read() as session:
            admin = (await session.execute(select(Principal))).scalar_one()
            subscription = (await session.execute(select(Subscription))).scalar_one()
        token = await context.tokens.access_token(BASE, admin, AUDIENCE, "test")
        yield ControlPlane(
            create_app(context), context, clock, admin.tenant_id, subscription.id, Identity(admin, token)
        )


@asynccontextmanager
async def other_node(plane: ControlPlane, folder: Path) -> AsyncIterator[ControlPlane]:
    """Yield a second node on the same database, with the shared secrets in a state folder of its own."""
    first = plane.context
    shutil.copytree(first.configuration.state_dir / "secrets", folder / "secrets")
    url = first.store.engine.url.render_as_string(hide_password=False)
    changes = {"state_dir": folder, "database": DatabaseSettings(url=url)}
    async with open_control(first.configuration.model_copy(update=changes), plane.clock) as context:
        yield replace(plane, app=create_app(context), context=context)


@dataclass(frozen=True)
class _First:
    """The state after a first start, and the database that belongs to it."""

    folder: tempfile.TemporaryDirectory[str]
    template: str

    @property
    def state(self) -> Path:
        return Path(self.folder.name) / "state"


async def _first_state(database: Database) -> _First:
    """Return the state after a first start; it is made once, since keys and hashes take their time."""
    if database.server not in _prepared:
        # Whoever looks for what a test left behind needn't find this: it goes with the process.
        folder = tempfile.TemporaryDirectory(prefix="arcgate-first-state-")
        template = database.server.create_database() if database.server is not None else ""
        first = _First(folder, template)
        url = database.server.local_url(template) if database.server is not None else ""
        async with open_control(Configuration(state_dir=first.state, database=DatabaseSettings(url=url))):
            pass
        _prepared[database.server] = first
    return _prepared[database.server]


_prepared: dict[PostgresServer | None, _First] = {}


@atexit.register
def _clean_up() -> None:
    for first in _prepared.values():
        first.folder.cleanup()


def form_token(page: Reply) -> str:
    """Return the hidden token of the page's form."""
    found = re.search(r'name="token" value="([^"]+)"', page.body.decode())
    assert found is not None, page.body
    return found[1]


def cookie_of(page: Reply) -> dict[str, str]:
    """Return the Cookie header that a browser would send after the page."""
    return {"cookie": page.headers["set-cookie"].split(";", 1)[0]}


def _assignment(row: Principal, role: Role, scope: str, now: datetime) -> RoleAssignment:
    return RoleAssignment(
        id=str(uuid.uuid4()),
        tenant_id=row.tenant_id,
        principal_id=row.id,
        role_id=role.id,
        scope=scope,
        created_at=now,
    )
