"""Connections to targets: the addresses that a name gives, one after the other, each decided about for each tunnel."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from arcgate.core.audit import Event
from arcgate.core.verdicts import Reason
from arcgate.net.streams import ByteStream
from worlds.authority import Authority
from worlds.gateway_node import gateway_node, target

pytestmark = pytest.mark.anyio

NAME = "target.example"
DEAD, ALIVE = ip_address("127.0.0.2"), ip_address("127.0.0.1")


async def say_nothing(stream: ByteStream) -> None:
    await stream.receive()


async def test_the_address_that_could_be_reached_is_told_when_the_first_could_not(
    authority: Authority, tmp_path: Path
) -> None:
    async with gateway_node(authority, tmp_path) as node, target(say_nothing) as port:
        node.publish_endpoints(f"{NAME}:{port}")
        client = node.enrol()
        for addresses in ([ALIVE], [ALIVE, DEAD], [DEAD, ALIVE]):
            node.resolver.addresses[NAME] = addresses
            await (await client.tunnel(f"{NAME}:{port}")).close()
        assert node.resolver.preferred == [(NAME, ALIVE)]
        await node.wait_for_record(Event.END, 3)
        assert {record.resolved_address for record in node.records(Event.END)} == {str(ALIVE)}


async def test_addresses_that_are_known_already_are_decided_about_by_the_policy_of_the_moment(
    authority: Authority, tmp_path: Path
) -> None:
    async with gateway_node(authority, tmp_path) as node, target(say_nothing) as port:
        node.resolver.addresses[NAME] = [ALIVE]
        node.publish_endpoints(f"{NAME}:{port}")
        client = node.enrol()
        await (await client.tunnel(f"{NAME}:{port}")).close()
        await node.wait_for_record(Event.END)
        node.publish_endpoints(f"{NAME}:{port}", allow_private=False)
        head, _ = await client.connect(f"{NAME}:{port}")
        assert (head.status, head.first("arcgate-reason")) == (403, Reason.ADDRESS_NOT_ALLOWED)
