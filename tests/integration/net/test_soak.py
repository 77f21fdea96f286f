"""Many tunnels with real TLS inside: random sizes, resets and half-closes, hashes compared, nothing left behind.

SOAK_TUNNELS says how many; a few hundred belong to every run, `make soak` carries 20,000 directly and through Squid.
"""

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import os
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arcgate.net.relay import Ending
from arcgate.net.splice import close_spare_pipes
from arcgate.net.streams import StreamReset
from arcgate.net.tls import TlsStream, server_context
from worlds.authority import Authority
from worlds.channel_chain import Chain, channel_chain, converse
from worlds.loopback_squid import loopback_squid

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(0 if "SOAK_TUNNELS" in os.environ else 120)]

TUNNELS = int(os.environ.get("SOAK_TUNNELS", "0"))
"""Tunnels on each path when a soak is asked for."""
FEW = {"direct": 240, "squid": 120}
"""Tunnels on each path in every run of the tests."""
AT_ONCE = 12
ROUNDS = 3
SIZES = (0, 1, 900, 20_000, 70_000, 400_000)
NAME = "target.test"
GROWTH = 1.05
"""Resident memory after the last round may be so many times that of the round before."""


@dataclass(frozen=True)
class Way:
    """A way between the two hops; `proxy_port` is 0 without a proxy."""

    name: str
    proxy_port: int


@pytest.fixture(params=["direct", "squid"])
async def path(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    if request.param == "direct":
        yield Way("direct", 0)
        return
    async with loopback_squid(tmp_path) as port:
        yield Way("squid", port)


class Soak:
    """One run: what each tunnel does follows from its number."""

    def __init__(self, authority: Authority, proxy_port: int) -> None:
        self.authority = authority
        self.proxy_port = proxy_port
        self.client = ssl.create_default_context(cadata=authority.pem)  # noqa: TID251 - the test's own client
        self.server = server_context(*authority.issue(NAME))
        self.handed_over = self.cut = self.half_closed = self.torn = self.compared = 0

    async def run_round(self, first: int, count: int) -> int:
        """Run tunnels by their numbers, some at once; return the resident memory after that, in bytes."""

        async def share(start: int) -> None:
            for number in range(first + start, first + count, AT_ONCE):
                await self.run_one(random.Random(number))

        await asyncio.gather(*(share(start) for start in range(AT_ONCE)))
        return resident()

    async def run_one(self, dice: random.Random) -> None:
        after, idle = dice.choice((0, 65_536, 1 << 30)), dice.choice((0.05, 60))
        async with channel_chain(self.authority, after=after, idle=idle, proxy_port=self.proxy_port) as chain:
            client = TlsStream(chain.client, self.client, server_side=False, server_hostname=NAME)
            target = TlsStream(chain.target, self.server, server_side=True)
            await asyncio.gather(client.handshake(), target.handshake())
            what = dice.random()
            if what < 0.15:
                await self.cut_one(chain, client, target, dice)
            elif what < 0.3:
                await self.half_close(chain, client, target, dice)
            else:
                await self.compare(chain, client, target, dice)
            assert chain.near.channel is not None
            self.handed_over += chain.near.channel.was_handed_over

    async def compare(self, chain: Chain, client: TlsStream, target: TlsStream, dice: random.Random) -> None:
        """Send both ways at once."""
        up, down = (dice.randbytes(dice.choice(SIZES)) for _ in range(2))
        got_down, got_up = await asyncio.gather(converse(client, up, dice), converse(target, down, dice))
        self.expect(got_up, up)
        self.expect(got_down, down)
        await asyncio.gather(chain.client.end(), chain.target.end())
        await self.expect_end(chain)

    async def half_close(self, chain: Chain, client: TlsStream, target: TlsStream, dice: random.Random) -> None:
        """End one direction, the client's or the target's, TLS and TCP, before the other one has begun."""
        ends = [(chain.client, client), (chain.target, target)]
        dice.shuffle(ends)
        (first, firsts_tls), (second, seconds_tls) = ends
        one, other = (dice.randbytes(dice.choice(SIZES)) for _ in range(2))
        got_one, _ = await asyncio.gather(take_all(seconds_tls), send_and_end(firsts_tls, one))
        await first.end()
        got_other, _ = await asyncio.gather(take_all(firsts_tls), send_and_end(seconds_tls, other))
        self.expect(got_one, one)
        self.expect(got_other, other)
        await second.end()
        await self.expect_end(chain)
        self.half_closed += 1

    async def cut_one(self, chain: Chain, client: TlsStream, target: TlsStream, dice: random.Random) -> None:
        """Reset one end while both send: the other one's TLS notices, even where a proxy makes an end of the reset."""
        ends = [(chain.client, client), (chain.target, target)]
        dice.shuffle(ends)
        (victim, victims_tls), (survivor, survivors_tls) = ends
        sending = asyncio.gather(*(send_until_cut(tls, dice) for tls in (victims_tls, survivors_tls)))
        await asyncio.sleep(0)
        victim.abort()
        with pytest.raises(StreamReset):
            await take_all(survivors_tls)
        survivor.abort()
        assert await chain.ended() != (Ending.COMPLETED, Ending.COMPLETED)
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        self.cut += 1

    async def expect_end(self, chain: Chain) -> None:
        """All has arrived and both ends have ended, although Squid ends both directions at the first end."""
        endings = await chain.ended()
        self.torn += endings != (Ending.COMPLETED, Ending.COMPLETED)

    def expect(self, got: bytes, sent: bytes) -> None:
        assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()
        self.compared += len(sent)


async def send_and_end(stream: TlsStream, data: bytes) -> None:
    await stream.send(data)
    await stream.end()


async def take_all(stream: TlsStream) -> bytes:
    taken = bytearray()
    while data := await stream.receive():
        taken += data
    return bytes(taken)


async def send_until_cut(stream: TlsStream, dice: random.Random) -> None:
    with contextlib.suppress(StreamReset):
        await stream.send(dice.randbytes(300_000))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """Return what the process has in memory, without what the C library only keeps for later."""
    close_spare_pipes()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_no_byte_is_wrong_and_nothing_is_left_behind(
    authority: Authority, path: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    soak = Soak(authority, path.proxy_port)
    each = -(-(TUNNELS or FEW[path.name]) // ROUNDS)
    await soak.run_one(random.Random(1))
    resident()
    before = descriptors()
    memory = [await soak.run_round(1 + number * each, each) for number in range(ROUNDS)]
    assert descriptors() == before
    assert memory[-1] <= memory[-2] * GROWTH
    assert soak.torn == 0
    assert soak.cut > 0
    assert soak.half_closed > 0
    assert soak.handed_over > each // 4
    if TUNNELS:
        with capsys.disabled():
            rounds = ", ".join(f"{size / 2**20:.1f}" for size in memory)
            print(  # noqa: T201 - the figures of a soak that somebody asked for
                f"\n{path.name}: {each * ROUNDS} tunnels, {soak.handed_over} handed over, "
                f"{soak.half_closed} half-closed, {soak.cut} cut, {soak.torn} ended as resets; "
                f"{soak.compared / 2**30:.1f} GiB compared, none wrong"
                f"; descriptors as before; MiB resident after each round: {rounds}"
            )
