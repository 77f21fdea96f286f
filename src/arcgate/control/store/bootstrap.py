"""The first start: a tenant, a subscription and an admin, and what every start publishes about the cloud."""

import json
import uuid
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select

from arcgate.control.arm.roles import OWNER
from arcgate.control.catalogue import load_catalogue
from arcgate.control.his.goals import catalogue_mark, control_patterns
from arcgate.control.login.secrets import hash_password, new_password
from arcgate.control.store.database import Store, Transaction
from arcgate.control.store.models import EntryRow, Principal, Revision, RoleAssignment, Subscription, Tenant
from arcgate.control.store.sealing import write_private_file
from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError
from arcgate.core.snapshot import Kind


async def bootstrap(configuration: Configuration, store: Store, now: datetime) -> None:
    """Make what an empty database lacks, and publish the cloud's names if they changed; idempotent.

    The admin's password is written to secrets/initial-admin.json before the database keeps its hash, so a
    stop between the two leaves nothing that nobody can sign in to.
    """
    async with store.write() as transaction:
        # Whoever comes second waits here, and then finds the tenant.
        await transaction.session.execute(select(Revision).where(Revision.id == 1).with_for_update())
        if (await transaction.session.execute(select(Tenant.id).limit(1))).first() is None:
            await _make_first_tenant(configuration, transaction, now)
        await _publish_cloud(configuration, transaction)


async def _make_first_tenant(configuration: Configuration, transaction: Transaction, now: datetime) -> None:
    domain = configuration.cloud.domain
    tenant = Tenant(id=str(uuid.uuid4()), display_name=configuration.cloud.name, domain=domain, is_default=True)
    subscription = Subscription(id=str(uuid.uuid4()), tenant_id=tenant.id, display_name=configuration.cloud.name)
    password = new_password()
    admin = Principal(
        id=str(uuid.uuid4()),
        tenant_id=tenant.id,
        kind="User",
        login=f"admin@{domain}",
        display_name="Administrator",
        secret_hash=hash_password(password),
        certificate="",
        is_enabled=True,
        created_at=now,
    )
    for row in (tenant, subscription, admin):
        transaction.session.add(row)
        await transaction.session.flush()
    for scope in ("/", f"/subscriptions/{subscription.id}"):
        transaction.session.add(_ownership(admin, scope, now))
    first = {
        "user": admin.login,
        "password": password,
        "tenantId": tenant.id,
        "subscriptionId": subscription.id,
    }
    path = configuration.state_dir / "secrets" / "initial-admin.json"
    write_private_file(path, json.dumps(first, indent=2) + "\n")


def _ownership(principal: Principal, scope: str, now: datetime) -> RoleAssignment:
    return RoleAssignment(
        id=str(uuid.uuid4()),
        tenant_id=principal.tenant_id,
        principal_id=principal.id,
        role_id=OWNER.id,
        scope=scope,
        created_at=now,
    )


def announced_authorities(configuration: Configuration) -> str:
    """Return the roots that machines shall trust as well, in PEM; raises StateError (TLS_FILE_UNUSABLE)."""
    path = configuration.tls.announced_authorities_file
    if path is None:
        return ""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StateError("TLS_FILE_UNUSABLE", f"{path} can't be read.", cause=str(error)) from None
    # Anew, so that nothing but certificates reaches the machines.
    return "".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in found)


async def _publish_cloud(configuration: Configuration, transaction: Transaction) -> None:
    hosts = [pattern.text for pattern in control_patterns(configuration)]
    loaded = load_catalogue(configuration)
    mark = catalogue_mark(loaded.catalogue)
    body = {"domain": configuration.cloud.domain, "controlHosts": hosts, "catalogue": mark}
    if announced := announced_authorities(configuration):
        body["authorities"] = announced
    known = await transaction.session.get(EntryRow, (Kind.CLOUD.value, "cloud"))
    if known is None or known.body != body:
        await transaction.publish(Kind.CLOUD, "cloud", body)
    newer = {"texts": list(loaded.texts)} if loaded.texts else None
    entry = await transaction.session.get(EntryRow, (Kind.CATALOGUE.value, "catalogue"))
    if (entry.body if entry is not None else None) != newer:
        await transaction.publish(Kind.CATALOGUE, "catalogue", newer)
