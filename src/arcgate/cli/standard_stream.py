"""Standard input and output as one stream, for programs that run us to reach something (ssh's ProxyCommand)."""

import asyncio
import os
import stat
from collections.abc import Callable

from arcgate.net.streams import StreamReset
from arcgate.net.tasks import cancel, spawn

CHUNK = 64 * 1024
"""Bytes of one read."""


class StandardStream:
    """Two descriptors as a ByteStream; pipes, sockets and terminals are waited for, files are there at once."""

    peer = ""

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self._source = source
        self._sink = sink
        self._hung_up = asyncio.Event()
        self.failure: OSError | None = None
        """What went wrong with one of the descriptors."""
        waited_for = [one for one in (source, sink) if not stat.S_ISREG(os.fstat(one).st_mode)]
        # They may be shared with a shell and its programs, which don't expect it: `close` takes it back.
        self._is_one = os.path.sameopenfile(source, sink)
        self._changed = [one for one in waited_for if os.get_blocking(one)]
        for descriptor in self._changed:
            os.set_blocking(descriptor, False)

    def hang_up(self) -> None:
        """Take note that whoever ran us has gone: there is no input any more, and output is for nobody."""
        self._hung_up.set()

    async def receive(self) -> bytes:
        """See ByteStream."""
        loop = asyncio.get_running_loop()
        while not self._hung_up.is_set():
            try:
                return os.read(self._source, CHUNK)
            except BlockingIOError:
                await self._until(self._source, loop.add_reader, loop.remove_reader)
            except OSError as error:
                self.failure = error
                raise StreamReset(str(error)) from None
        return b""

    async def send(self, data: bytes) -> None:
        """See ByteStream."""
        loop = asyncio.get_running_loop()
        left = memoryview(data)
        while left and not self._hung_up.is_set():
            try:
                left = left[os.write(self._sink, left) :]
            except BlockingIOError:
                await self._until(self._sink, loop.add_writer, loop.remove_writer)
            except OSError as error:
                self.failure = error
                raise StreamReset(str(error)) from None

    async def end(self) -> None:
        """See ByteStream. The descriptor's number stays taken, so that nothing else gets it."""
        if not self._is_one:
            self._give_back(self._sink)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._sink)
        os.close(nowhere)

    def abort(self) -> None:
        """See ByteStream: the process that ends says so."""

    async def close(self) -> None:
        """See ByteStream. The descriptors are as they were."""
        for descriptor in list(self._changed):
            self._give_back(descriptor)

    def _give_back(self, descriptor: int) -> None:
        if descriptor in self._changed:
            self._changed.remove(descriptor)
            os.set_blocking(descriptor, True)

    async def _until(
        self, descriptor: int, add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], bool]
    ) -> None:
        """Wait for a descriptor, or until we are hung up."""
        ready = asyncio.Event()
        add(descriptor, ready.set)
        waits = [spawn("wait for a descriptor", ready.wait()), spawn("wait for the end", self._hung_up.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            remove(descriptor)
            await cancel(*waits)
