"""Signing keys: they take turns, and what an old one has signed stays good until it expires."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.control.login.tokens import KEY_DAYS, RELOAD_SECONDS, Tokens
from worlds.asgi import ask
from worlds.control_plane import AUDIENCE, BASE, ControlPlane, control_plane
from worlds.databases import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path, database: Database) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, database) as made:
        yield made


async def _published(plane: ControlPlane) -> list[str]:
    document = (await ask(plane.app, "GET", f"/{plane.tenant_id}/discovery/v2.0/keys")).json()
    assert all("d" not in key for key in document["keys"])
    return [key["kid"] for key in document["keys"]]


async def test_both_keys_are_published_until_the_tokens_of_the_old_one_have_expired(plane: ControlPlane) -> None:
    [old] = await _published(plane)
    token = (await plane.sign_in(plane.admin.principal)).token
    fresh = await plane.context.tokens.rotate()
    assert await _published(plane) == [old, fresh]
    plane.clock.advance(minutes=59)
    assert (await plane.context.tokens.verify(token)).principal_id == plane.admin.principal.id
    plane.clock.advance(minutes=1, seconds=RELOAD_SECONDS + 1)
    assert await _published(plane) == [fresh]


async def test_a_key_that_was_replaced_signs_nothing_that_is_believed_later(plane: ControlPlane) -> None:
    principal = plane.admin.principal
    other = _other_node(plane)
    await other.prepare()
    await plane.context.tokens.rotate()
    plane.clock.advance(minutes=30)
    [_, fresh] = await _published(plane)
    # The other node notices by itself, and signs with the new key.
    late = await other.access_token(BASE, principal, AUDIENCE, "x")
    plane.clock.advance(minutes=50)
    assert (await plane.context.tokens.verify(late)).principal_id == principal.id
    assert await _published(plane) == [fresh]


async def test_a_key_gives_way_after_its_days(plane: ControlPlane) -> None:
    [old] = await _published(plane)
    plane.clock.advance(days=KEY_DAYS, seconds=1)
    token = (await plane.sign_in(plane.admin.principal)).token
    assert (await plane.context.tokens.verify(token)).principal_id == plane.admin.principal.id
    published = await _published(plane)
    assert published[0] == old
    assert len(published) == 2


async def test_a_node_that_did_not_rotate_believes_the_new_key_at_once(plane: ControlPlane) -> None:
    other = _other_node(plane)
    await other.prepare()
    await plane.context.tokens.rotate()
    token = (await plane.sign_in(plane.admin.principal)).token
    assert (await other.verify(token)).tenant_id == plane.tenant_id


def _other_node(plane: ControlPlane) -> Tokens:
    context = plane.context
    return Tokens(context.configuration, context.store, context.sealer, plane.clock)
