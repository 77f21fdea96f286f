"""What every ARM answer tells beside its body: what the caller has left, and whether it has the version already."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arcgate.control.arm.roles import READER
from worlds.control_plane import GATEWAYS, ControlPlane, control_plane

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, control={"reads_per_minute": 20, "writes_per_minute": 5}) as made:
        yield made


async def test_every_answer_tells_what_is_left(plane: ControlPlane) -> None:
    made = await plane.group()
    assert made.headers["x-ms-ratelimit-remaining-subscription-writes"] == "4"
    missing = await plane.arm("GET", f"{GATEWAYS}/none")
    assert missing.status == 404
    assert missing.headers["x-ms-ratelimit-remaining-subscription-reads"] == "19"
    tenants = await plane.arm("GET", "/tenants", version="2022-12-01")
    assert tenants.headers["x-ms-ratelimit-remaining-tenant-reads"] == "19"


async def test_who_asks_too_much_is_told_to_wait_and_others_are_not(plane: ControlPlane) -> None:
    replies = [await plane.group(f"g{number}") for number in range(7)]
    assert [reply.status for reply in replies] == [201] * 5 + [429] * 2
    assert replies[-1].code == "SubscriptionRequestsThrottled"
    assert replies[-1].headers["retry-after"] == "12"
    assert replies[-1].headers["x-ms-ratelimit-remaining-subscription-writes"] == "0"
    reader = await plane.principal(READER)
    assert (await plane.arm("GET", "resourceGroups/g4", caller=reader, version="2024-11-01")).status == 200
    assert (await plane.arm("GET", "resourceGroups/g5", version="2024-11-01")).code == "ResourceGroupNotFound"
    plane.clock.advance(seconds=12)
    assert (await plane.group("g8")).status == 201


async def test_a_client_that_has_the_version_gets_no_body(plane: ControlPlane) -> None:
    await plane.group()
    made = await plane.gateway()
    place, tag = f"{GATEWAYS}/gw", made.headers["etag"]
    for names in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        reply = await plane.arm("GET", place, headers={"If-None-Match": names})
        assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", tag)
    assert (await plane.arm("GET", place, headers={"If-None-Match": '"other"'})).status == 200
    await plane.arm("PATCH", place, {"tags": {"a": "b"}})
    assert (await plane.arm("GET", place, headers={"If-None-Match": tag})).json()["tags"] == {"a": "b"}
