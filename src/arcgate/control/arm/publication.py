"""Writes what gateway nodes and agents must see of a change, in the change's own transaction."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.arm.policy_history import publish_policy
from arcgate.control.store import Transaction
from arcgate.control.store.models import (
    EndpointSetRow,
    GatewayRow,
    MachineCertificate,
    MachineGroupRow,
    MachineRow,
    SettingRow,
)
from arcgate.core.snapshot import Kind


def machine_topic(machine_id: str) -> str:
    """Return the topic of a machine's entry and association."""
    return f"machine:{machine_id}"


def gateway_topic(prefix: str) -> str:
    """Return the topic of a gateway's entry."""
    return f"gateway:{prefix}"


def endpoint_sets_topic(tenant_id: str) -> str:
    """Return the topic of all endpoint sets and machine groups of a tenant."""
    return f"endpointSets:{tenant_id}"


async def publish_gateway(transaction: Transaction, row: GatewayRow) -> int:
    """Publish a gateway as its row is now."""
    transaction.announce(gateway_topic(row.prefix))
    body = {
        "resourceId": row.resource_id,
        "tenantId": row.tenant_id,
        "allowedFeatures": row.allowed_features,
        "bypass": row.bypass,  # for agents' goals; nodes have no use for it
        **({"handOver": row.hand_over} if row.hand_over else {}),
        **({"policy": row.policy} if row.policy else {}),
        **({"signedChannels": True} if row.signed_channels else {}),
    }
    return await publish_policy(transaction, Kind.GATEWAY, row.prefix, row, body)


async def withdraw_gateway(transaction: Transaction, row: GatewayRow) -> int:
    """Publish that a gateway is gone."""
    transaction.announce(gateway_topic(row.prefix))
    return await publish_policy(transaction, Kind.GATEWAY, row.prefix, row, None)


async def publish_machine(transaction: Transaction, row: MachineRow) -> int:
    """Publish a machine with its association and revoked certificates as they are now."""
    session = transaction.session
    await session.flush()
    transaction.announce(machine_topic(row.id))
    gateway = await gateway_of(session, row.id)
    body = {
        "resourceId": row.resource_id,
        "tenantId": row.tenant_id,
        "gateway": gateway.prefix if gateway is not None else None,
        "revokedSerials": await revoked_serials(session, row.id),
        **({"tags": row.tags} if row.tags else {}),
    }
    return await transaction.publish(Kind.MACHINE, row.id, body)


async def withdraw_machine(transaction: Transaction, machine_id: str) -> int:
    """Publish that a machine is gone."""
    transaction.announce(machine_topic(machine_id))
    return await transaction.publish(Kind.MACHINE, machine_id, None)


async def publish_tenant_part(transaction: Transaction, row: EndpointSetRow | MachineGroupRow) -> int:
    """Publish an endpoint set or machine group as its row is now."""
    return await _publish_tenant_part(transaction, row, {"name": row.name, "tenantId": row.tenant_id, **_body(row)})


async def withdraw_tenant_part(transaction: Transaction, row: EndpointSetRow | MachineGroupRow) -> int:
    """Publish that an endpoint set or machine group is gone."""
    return await _publish_tenant_part(transaction, row, None)


async def _publish_tenant_part(
    transaction: Transaction, row: EndpointSetRow | MachineGroupRow, body: Mapping[str, Any] | None
) -> int:
    transaction.announce(endpoint_sets_topic(row.tenant_id))
    kind = Kind.ENDPOINT_SET if isinstance(row, EndpointSetRow) else Kind.MACHINE_GROUP
    return await publish_policy(transaction, kind, row.key, row, body)


def _body(row: EndpointSetRow | MachineGroupRow) -> dict[str, Any]:
    if isinstance(row, EndpointSetRow):
        return {"endpoints": row.endpoints, "allowPrivate": row.allow_private}
    return {
        "tags": row.match_tags,
        "allowedFeatures": row.allowed_features,
        "mode": row.mode,
        "auditedFeatures": row.audited_features,
        "limits": row.limits,
    }


async def gateway_of(session: AsyncSession, machine_id: str) -> GatewayRow | None:
    """Return the gateway that a machine is associated with."""
    statement = select(GatewayRow).join(SettingRow, SettingRow.gateway_id == GatewayRow.id)
    return (await session.execute(statement.where(SettingRow.machine_id == machine_id))).scalar_one_or_none()


async def machines_of(session: AsyncSession, gateway_ids: Iterable[str]) -> list[MachineRow]:
    """Return the machines that are associated with the gateways, in the order of their ids."""
    statement = select(MachineRow).join(SettingRow, SettingRow.machine_id == MachineRow.id)
    condition = SettingRow.gateway_id.in_(list(gateway_ids))
    return list((await session.execute(statement.where(condition).order_by(MachineRow.key))).scalars())


async def revoked_serials(session: AsyncSession, machine_id: str) -> list[str]:
    """Return the serial numbers of a machine's revoked certificates."""
    statement = select(MachineCertificate.serial).where(
        MachineCertificate.machine_id == machine_id, MachineCertificate.revoked_at.is_not(None)
    )
    return sorted((await session.execute(statement)).scalars())
