"""Standard input and output as a stream: pipes, files, ends, and whoever hangs up."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arcgate.cli.standard_stream import StandardStream
from arcgate.net.streams import StreamReset
from arcgate.net.tasks import spawn
from worlds.waiting import settled

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 4_000


@dataclass
class Pipes:
    """Both pipes of a ProxyCommand: `give` and `take` are ssh's ends."""

    source: int
    give: int
    take: int
    sink: int


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes(*os.pipe(), *os.pipe())
    yield made
    for descriptor in (made.source, made.give, made.take, made.sink):
        try:
            os.close(descriptor)
        except OSError:
            continue


async def test_bytes_come_as_they_are_given_until_the_end(pipes: Pipes) -> None:
    stream = StandardStream(pipes.source, pipes.sink)
    receiving = spawn("receive", stream.receive())
    await settled()
    os.write(pipes.give, b"hello")
    assert await receiving == b"hello"
    os.close(pipes.give)
    assert await stream.receive() == b""


async def test_bytes_wait_for_a_slow_reader_and_arrive_whole(pipes: Pipes) -> None:
    stream = StandardStream(pipes.source, pipes.sink)
    sending = spawn("send", stream.send(CONTENT))
    received = b""
    while len(received) < len(CONTENT):
        received += await asyncio.to_thread(os.read, pipes.take, 65_536)
    await sending
    assert received == CONTENT
    await stream.end()
    assert await asyncio.to_thread(os.read, pipes.take, 1) == b""


async def test_a_reader_that_has_gone_is_a_reset(pipes: Pipes) -> None:
    stream = StandardStream(pipes.source, pipes.sink)
    os.close(pipes.take)
    with pytest.raises(StreamReset):
        await stream.send(b"hello")


async def test_hanging_up_ends_the_input_and_drops_the_output(pipes: Pipes) -> None:
    stream = StandardStream(pipes.source, pipes.sink)
    receiving = spawn("receive", stream.receive())
    sending = spawn("send", stream.send(CONTENT))
    await settled()
    stream.hang_up()
    assert await receiving == b""
    await sending
    assert await stream.receive() == b""


async def test_a_file_can_be_the_input(tmp_path: Path, pipes: Pipes) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"from a file")
    descriptor = os.open(file, os.O_RDONLY)
    stream = StandardStream(descriptor, pipes.sink)
    assert await stream.receive() == b"from a file"
    assert await stream.receive() == b""
    os.close(descriptor)


@pytest.mark.parametrize("has_ended", [True, False])
async def test_whoever_shares_the_descriptors_finds_them_as_they_were(pipes: Pipes, has_ended: bool) -> None:
    shells = os.dup(pipes.source), os.dup(pipes.sink)
    stream = StandardStream(pipes.source, pipes.sink)
    assert not any(map(os.get_blocking, shells))
    if has_ended:
        await stream.end()
    await stream.close()
    assert all(map(os.get_blocking, shells))
    for descriptor in shells:
        os.close(descriptor)


async def test_output_that_ends_does_not_make_the_input_of_the_same_terminal_block() -> None:
    master, terminal = os.openpty()
    shells = os.dup(terminal), os.dup(terminal)
    stream = StandardStream(*shells)
    await stream.end()
    assert not os.get_blocking(terminal)
    await stream.close()
    assert os.get_blocking(terminal)
    for descriptor in (master, terminal, *shells):
        os.close(descriptor)
