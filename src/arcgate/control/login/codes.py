"""Device codes: a sign-in that begins on one device and is confirmed on another (RFC 8628)."""

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.engine import CursorResult

from arcgate.control.context import ControlContext
from arcgate.control.login.failures import GrantError
from arcgate.control.login.secrets import digest, new_secret
from arcgate.control.store.models import DeviceCode

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""Letters that look and sound different, without vowels, so that no code is a word (RFC 8628 section 6.1)."""
CODE_LETTERS = 9
INTERVAL = 1
"""Seconds between a client's polls."""
MOST_PENDING = 10_000
"""Codes that wait at once; more would let a guess succeed too easily."""

_SEPARATORS = re.compile(r"[\s-]+")
_CODE = re.compile(rf"[{ALPHABET}]{{{CODE_LETTERS}}}\Z")


@dataclass(frozen=True, slots=True)
class NewCode:
    """What the device gets to know."""

    device_code: str
    user_code: str


def normal_code(text: str) -> str:
    """Return a user code as it is kept, whatever case, spaces and hyphens somebody typed; "" when it is none."""
    if not text.isascii():
        return ""  # upper() makes ASCII letters of some others
    code = _SEPARATORS.sub("", text[:60]).upper()
    return code if _CODE.match(code) else ""


def shown_code(code: str) -> str:
    """Return a user code in groups, as people read it."""
    return f"{code[:3]}-{code[3:6]}-{code[6:]}"


async def begin(
    context: ControlContext, tenant_id: str | None, client_id: str, audience: str, scope: str, address: str
) -> NewCode:
    """Make a code; raises GrantError (temporarily_unavailable) when too many wait."""
    now = context.clock()
    made = NewCode(new_secret(), "".join(secrets.choice(ALPHABET) for _ in range(CODE_LETTERS)))
    async with context.store.write() as transaction:
        session = transaction.session
        await session.execute(delete(DeviceCode).where(DeviceCode.expires_at < now - timedelta(hours=1)))
        pending = select(DeviceCode.code_hash).where(DeviceCode.state == "pending").limit(MOST_PENDING)
        if len((await session.execute(pending)).all()) >= MOST_PENDING:
            raise GrantError("temporarily_unavailable", "Too many sign-ins are waiting; try again later.", status=503)
        session.add(
            DeviceCode(
                code_hash=digest(made.device_code),
                user_code=made.user_code,
                tenant_id=tenant_id,
                client_id=client_id,
                audience=audience,
                scope=scope,
                address=address,
                state="pending",
                principal_id=None,
                created_at=now,
                expires_at=now + timedelta(seconds=context.configuration.control.device_code_lifetime),
                polled_at=None,
            )
        )
    return made


async def find_pending(context: ControlContext, code: str) -> DeviceCode | None:
    """Return the code that waits for an answer, or None."""
    statement = select(DeviceCode).where(
        DeviceCode.user_code == code, DeviceCode.state == "pending", DeviceCode.expires_at > context.clock()
    )
    async with context.store.read() as session:
        return (await session.execute(statement)).scalar_one_or_none()


async def approve_code(context: ControlContext, code: str, principal_id: str, tenant_id: str) -> bool:
    """Let the device sign in as the principal; False when no such code of the tenant waits."""
    return await _answer(context, code, tenant_id, "approved", principal_id)


async def deny_code(context: ControlContext, code: str, tenant_id: str) -> bool:
    """Refuse the device; False when no such code of the tenant waits."""
    return await _answer(context, code, tenant_id, "denied", None)


async def _answer(context: ControlContext, code: str, tenant_id: str, state: str, principal_id: str | None) -> bool:
    statement = (
        update(DeviceCode)
        .where(
            DeviceCode.user_code == code,
            or_(DeviceCode.tenant_id == tenant_id, DeviceCode.tenant_id.is_(None)),
            DeviceCode.state == "pending",
            DeviceCode.expires_at > context.clock(),
        )
        .values(state=state, principal_id=principal_id)
    )
    async with context.store.write() as transaction:
        result = await transaction.session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


async def redeem(context: ControlContext, device_code: str, client_id: str) -> DeviceCode:
    """Return the approved code, which is used up by that; raises GrantError while there is nothing to return."""
    now = context.clock()
    async with context.store.write() as transaction:
        row = await transaction.session.get(DeviceCode, digest(device_code))
        if row is None or row.client_id != client_id or row.expires_at <= now or row.state == "used":
            text = "AADSTS70020: The device code is unknown, used or expired."
            raise GrantError("expired_token", text)
        if row.state == "pending":
            raise GrantError("authorization_pending", "AADSTS70016: The code has not been confirmed yet.")
        if row.state == "denied":
            raise GrantError("authorization_declined", "AADSTS70018: The sign-in was refused.")
        row.state = "used"
    return row
