"""Many tunnels with real TLS inside: random sizes, resets and half-closes, hashes compared, descriptors as before.

SOAK_TUNNELS says how many; a few hundred belong to every run, 20,000 to a night.
"""

import asyncio
import contextlib
import gc
import hashlib
import os
import random
import ssl

import pytest

from arcgate.net.relay import Ending
from arcgate.net.splice import close_spare_pipes
from arcgate.net.streams import StreamReset
from arcgate.net.tls import TlsStream, server_context
from worlds.authority import Authority
from worlds.channel_chain import Chain, channel_chain, converse

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(0 if "SOAK_TUNNELS" in os.environ else 120)]

TUNNELS = int(os.environ.get("SOAK_TUNNELS", "300"))
AT_ONCE = 12
SIZES = (0, 1, 900, 20_000, 70_000, 400_000)
NAME = "target.test"


class Soak:
    """One run: what each tunnel does follows from its number."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.client = ssl.create_default_context(cadata=authority.pem)  # noqa: TID251 - the test's own client
        self.server = server_context(*authority.issue(NAME))
        self.handed_over = 0
        self.cut = 0

    async def run_share(self, first: int) -> None:
        for number in range(first, TUNNELS, AT_ONCE):
            await self.run_one(random.Random(number))

    async def run_one(self, dice: random.Random) -> None:
        after, idle = dice.choice((0, 65_536, 1 << 30)), dice.choice((0.05, 60))
        async with channel_chain(self.authority, after=after, idle=idle) as chain:
            client = TlsStream(chain.client, self.client, server_side=False, server_hostname=NAME)
            target = TlsStream(chain.target, self.server, server_side=True)
            await asyncio.gather(client.handshake(), target.handshake())
            if dice.random() < 0.15:
                await self.cut_one(chain, client, target, dice)
            else:
                await self.compare(client, target, dice)
                await asyncio.gather(chain.client.end(), chain.target.end())
                assert await chain.ended() == (Ending.COMPLETED, Ending.COMPLETED)
            assert chain.near.channel is not None
            self.handed_over += chain.near.channel.was_handed_over

    async def compare(self, client: TlsStream, target: TlsStream, dice: random.Random) -> None:
        up, down = (dice.randbytes(dice.choice(SIZES)) for _ in range(2))
        got_down, got_up = await asyncio.gather(converse(client, up, dice), converse(target, down, dice))
        assert hashlib.sha256(got_up).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(got_down).digest() == hashlib.sha256(down).digest()

    async def cut_one(self, chain: Chain, client: TlsStream, target: TlsStream, dice: random.Random) -> None:
        sending = asyncio.gather(
            *(self.send_until_cut(stream, dice) for stream in (client, target)), return_exceptions=True
        )
        await asyncio.sleep(0)
        dice.choice((chain.client, chain.target)).abort()
        near, far = await chain.ended()
        assert (near, far) != (Ending.COMPLETED, Ending.COMPLETED)
        for stream in (chain.client, chain.target):
            stream.abort()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        self.cut += 1

    @staticmethod
    async def send_until_cut(stream: TlsStream, dice: random.Random) -> None:
        with contextlib.suppress(StreamReset):
            await stream.send(dice.randbytes(300_000))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_no_byte_is_wrong_and_no_descriptor_is_left(authority: Authority) -> None:
    soak = Soak(authority)
    await soak.run_one(random.Random(1))
    close_spare_pipes()
    gc.collect()
    before = descriptors()
    await asyncio.gather(*(soak.run_share(first) for first in range(AT_ONCE)))
    close_spare_pipes()
    gc.collect()
    assert descriptors() == before
    assert soak.cut > 0
    assert soak.handed_over > TUNNELS // 10
