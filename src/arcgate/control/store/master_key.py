"""Makes sure at the start that secrets/master.key is the key of this database, before anything is sealed with it."""

from datetime import datetime

from sqlalchemy import select

from arcgate.control.store.database import Store
from arcgate.control.store.models import KeyRow
from arcgate.control.store.sealing import Sealer
from arcgate.core.errors import StateError

CHECK = "master-key-check"
"""Id and purpose of the row whose only use is to be opened."""


async def require_master_key(store: Store, sealer: Sealer, now: datetime) -> None:
    """Open all that is sealed; the first start leaves something to open. Raises StateError (MASTER_KEY_DIFFERS).

    Two nodes that start together on an empty database, each with a key of its own, must not both win.
    """
    async with store.write() as transaction:
        rows = (await transaction.session.execute(select(KeyRow))).scalars().all()
        for row in rows:
            _require_opens(sealer, row)
        if CHECK not in {row.id for row in rows}:
            transaction.session.add(_new_check(sealer, now))


def _require_opens(sealer: Sealer, row: KeyRow) -> None:
    try:
        sealer.open(row.private_sealed, f"key:{row.id}")
    except StateError:
        raise StateError(
            "MASTER_KEY_DIFFERS",
            "secrets/master.key is not the key of this database.",
            cause=f"it does not open the key {row.id!r}",
            remedy="Copy secrets/master.key and secrets/node.secret from a control-plane node that uses the database, "
            "or from the backup that belongs to it.",
        ) from None


def _new_check(sealer: Sealer, now: datetime) -> KeyRow:
    return KeyRow(
        id=CHECK,
        purpose=CHECK,
        private_sealed=sealer.seal(b"arcgate", f"key:{CHECK}"),
        public="",
        certificate="",
        created_at=now,
        not_after=None,
    )
