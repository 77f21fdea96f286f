"""Machine certificates: signed for the registered key alone, counted, and not given out after a revocation."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from arcgate.control.authority import MachineIdentity, serial_of
from arcgate.control.authority.authority import pem_of
from arcgate.control.authority.requests import read_public_key, read_request_key, require_same_key
from arcgate.control.context import ControlContext
from arcgate.control.failures import ApiError, refuse_input
from arcgate.control.his.assertions import server_time
from arcgate.control.store.models import MachineCertificate, MachineRow
from arcgate.core.errors import InputError

MOST_CERTIFICATES = 50
"""Certificates that one machine gets within a day."""


async def issue_certificate(context: ControlContext, machine: MachineRow, request_pem: str) -> dict[str, Any]:
    """Return the answer with the machine's new certificate; raises ApiError 400, 403 or 429."""
    try:
        key = read_request_key(request_pem)
        require_same_key(key, read_public_key(machine.client_public_key))
    except InputError as error:
        raise refuse_input(error, "CertificateRequestInvalid", target="csr") from None
    async with context.store.write() as transaction:
        now = context.clock()
        await _require_permitted(transaction.session, machine, now)
        certificate = context.authority.sign_machine(key, MachineIdentity(machine.tenant_id, machine.id))
        end = certificate.not_valid_after_utc
        transaction.session.add(
            MachineCertificate(serial=serial_of(certificate), machine_id=machine.id, issued_at=now, not_after=end)
        )
    return {
        "certificate": pem_of(certificate),
        "chain": context.authority.machine_authorities_pem,
        "notAfter": server_time(end),
        "tenantId": machine.tenant_id,
        "resourceId": machine.resource_id,
    }


async def require_not_revoked(session: AsyncSession, machine: MachineRow) -> None:
    """Raise ApiError 403 (CertificateRevoked) when a certificate of the machine has been revoked."""
    mine = MachineCertificate.machine_id == machine.id
    # Whoever holds a key that was revoked for being stolen must not get the next certificate or token with it.
    revoked = select(func.count()).where(mine, MachineCertificate.revoked_at >= machine.created_at)
    if (await session.execute(revoked)).scalar_one():
        raise ApiError(
            403,
            "CertificateRevoked",
            "The machine's certificate has been revoked.",
            remedy="Run 'azcmagent disconnect' and 'azcmagent connect' on the machine.",
        )


async def _require_permitted(session: AsyncSession, machine: MachineRow, now: datetime) -> None:
    await require_not_revoked(session, machine)
    mine = MachineCertificate.machine_id == machine.id
    recent = select(func.count()).where(mine, MachineCertificate.issued_at > now - timedelta(days=1))
    if (await session.execute(recent)).scalar_one() >= MOST_CERTIFICATES:
        raise ApiError(
            429,
            "TooManyRequests",
            f"The machine got {MOST_CERTIFICATES} certificates within a day.",
            remedy="Keep the certificate until half of its life has passed.",
            headers={"Retry-After": "3600"},
        )
