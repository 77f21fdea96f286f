"""A process that has no descriptors left: what is open goes on, what is new says why it can't be."""

import subprocess
import sys

SCRIPT = """
import asyncio, hashlib, os, resource, socket, sys
from ipaddress import IPv4Address
from arcgate.core.errors import HopError
from arcgate.net.relay import Ending, Traffic
from arcgate.net.dialer import dial
from arcgate.net.relay import relay
from arcgate.net.streams import SocketStream

SIZE = 3_000_000


def pair():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        return [SocketStream(one) for one in (client, listening.accept()[0])]


async def send(stream, data):
    await stream.send(data)
    await stream.end()


async def receive(stream):
    received = hashlib.sha256()
    while data := await stream.receive():
        received.update(data)
    return received.digest()


async def main():
    client, near_client = pair()
    target, near_target = pair()
    loop = asyncio.get_running_loop()
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    for addresses in ([IPv4Address("127.0.0.1")], [IPv4Address("127.0.0.1"), IPv4Address("127.0.0.2")]):
        try:
            await dial(addresses, 9, 5)
        except HopError as error:
            print(error.code)
    up, down = os.urandom(SIZE), os.urandom(SIZE)
    relaying = loop.create_task(relay(near_client, near_target, Traffic(), idle_timeout=60, half_closed_timeout=60))
    ends = await asyncio.gather(send(client, up), send(target, down), receive(target), receive(client))
    assert ends[2:] == [hashlib.sha256(up).digest(), hashlib.sha256(down).digest()]
    print(await relaying)


asyncio.run(main())
"""


def test_a_tunnel_carries_its_bulk_without_pipes_and_a_dial_names_the_lack_of_descriptors() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""
    assert ended.stdout.split() == ["NO_DESCRIPTORS", "NO_DESCRIPTORS", "completed"]
