"""The ledgers of a node's workers: a file each, mapped into the memory of all of them.

A worker holds a lock on its own file for as long as it lives; the kernel lets go of it however the worker ends.
The files stay, so that a day's bytes are still known after a restart.
"""

import fcntl
import mmap
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import sleep

import structlog

from arcgate.core.ledger import WORDS, Ledger

LOCK_TRIES = 100
"""Tries to get our own file: others hold it for a moment to see whether we live."""
LOCK_PAUSE = 0.01
"""Seconds between them."""
_SIZE = 8 * WORDS

_log = structlog.get_logger(__name__)


def _lone_ledger() -> Ledger:
    return Ledger(memoryview(bytearray(_SIZE)).cast("q"))


@dataclass(frozen=True)
class MachineLedgers:
    """This worker's ledger, and those of the others; by default there are none, and ours is in our memory alone."""

    own: Ledger = field(default_factory=_lone_ledger)
    others: tuple[Ledger, ...] = ()
    _descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        """Let go of our file, so that a successor can have it."""
        for descriptor in self._descriptors:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # the mapping has a descriptor of its own, which would keep it
            os.close(descriptor)


def open_ledgers(folder: Path, number: int, workers: int, day: int) -> MachineLedgers:
    """Return the ledgers as worker `number` sees them, its own begun anew on this day (since 1970).

    When the files can't be used, that is logged, and limits of a machine hold in this worker by itself.
    """
    opened: list[int] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = Ledger(_map(folder / _name(number), opened))
        _lock(opened[0])
        own.begin_anew(day)
        others = tuple(_open_other(folder / _name(one), opened) for one in range(workers) if one != number)
    except OSError as error:
        for descriptor in opened:
            os.close(descriptor)
        _log.error(
            "limits of a machine hold in this worker by itself, and its day begins anew",
            folder=str(folder),
            cause=error.strerror or str(error),
            remedy="Free space on the disk of state_dir, or stop the other server there; then restart this one.",
        )
        return MachineLedgers()
    return MachineLedgers(own, others, tuple(opened))


def _name(number: int) -> str:
    """Return a file's name; the size stands in it, since files of another size can't be taken over."""
    return f"machines-{WORDS}-{number}.ledger"


def _lock(descriptor: int) -> None:
    for last in (False,) * (LOCK_TRIES - 1) + (True,):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if last:
                raise
            sleep(LOCK_PAUSE)
        else:
            return


def _open_other(path: Path, opened: list[int]) -> Ledger:
    words = _map(path, opened)
    return Ledger(words, partial(_is_held, opened[-1]))


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _map(path: Path, opened: list[int]) -> memoryview:
    """Return a file's words, all 0 when it is new; its descriptor is added to `opened`. Raises OSError."""
    opened.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    # Room on the disk for all of it: where that is missing, writing into the memory would kill the process.
    os.posix_fallocate(opened[-1], 0, _SIZE)
    return memoryview(mmap.mmap(opened[-1], _SIZE)).cast("q")
