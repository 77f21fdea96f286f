"""Puts the control plane together: opens the state and returns the context that everything works with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from arcgate.control.authority import load_authority
from arcgate.control.catalogue import load_catalogue
from arcgate.control.changes import Changes
from arcgate.control.clock import Clock
from arcgate.control.context import ControlContext
from arcgate.control.login.external import external_issuer
from arcgate.control.login.tokens import Tokens
from arcgate.control.store import open_store
from arcgate.control.store.bootstrap import bootstrap
from arcgate.control.store.master_key import require_master_key
from arcgate.control.store.migrations import upgrade
from arcgate.control.store.sealing import load_sealer
from arcgate.core.configuration import Configuration
from arcgate.net.tasks import cancel, spawn


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_control(configuration: Configuration, clock: Clock = utc_now) -> AsyncIterator[ControlContext]:
    """Yield the context over the configured state, which is made or migrated first.

    Raises StateError when a key file is damaged or of another database, or the database can't be used or is
    newer than this version.
    """
    configuration.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    sealer = load_sealer(configuration.state_dir)
    changes = Changes()
    store = open_store(configuration, changes)
    listening: asyncio.Task[None] | None = None
    try:
        await upgrade(store)
        await require_master_key(store, sealer, clock())
        await bootstrap(configuration, store, clock())
        tokens = Tokens(configuration, store, sealer, clock)
        await tokens.prepare()
        authority = await load_authority(store, sealer, clock, configuration.control.certificate_days)
        listening = spawn("database notices", store.keep_listening())
        yield ControlContext(
            configuration=configuration,
            store=store,
            changes=changes,
            clock=clock,
            sealer=sealer,
            catalogue=load_catalogue(configuration).catalogue,
            tokens=tokens,
            authority=authority,
            external=external_issuer(configuration.identity, clock),
        )
    finally:
        changes.close()
        if listening is not None:
            await cancel(listening)
        await store.close()
