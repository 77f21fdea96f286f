"""The files in which workers tell each other what machines use: they outlive a worker, and say whether it lives."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from arcgate.core.machine_use import MachineUse
from arcgate.gateway import machine_ledgers
from arcgate.gateway.machine_ledgers import MachineLedgers, open_ledgers

WORKER = """
import sys
from pathlib import Path
from arcgate.core.machine_use import MachineUse
from arcgate.gateway.machine_ledgers import open_ledgers
ledgers = open_ledgers(Path(sys.argv[1]), 1, 2, 0)
use = MachineUse("m", ledgers.own, ledgers.others)
use.take_place(0, 0)
use.open_tunnel(9), use.open_tunnel(9), use.carry(1000, 0)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_worker(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker that has two tunnels of a machine, and has carried 1000 bytes; it is killed at the end."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WORKER, str(folder)], stdin=pipe, stdout=pipe) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def use_of(ledgers: MachineLedgers) -> MachineUse:
    use = MachineUse("m", ledgers.own, ledgers.others)
    assert use.take_place(0, 0)
    return use


def test_a_worker_sees_anothers_use_and_after_its_death_its_bytes_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with closing(open_ledgers(folder, 0, 2, 0)) as ours:
        use = use_of(ours)
        with other_worker(folder):
            assert [use.open_tunnel(3), use.open_tunnel(3)] == [True, False]
            assert use.carried(0) == 1000
        assert use.open_tunnel(3)
        assert not use.open_tunnel(3)
        with closing(open_ledgers(folder, 1, 2, 0)) as successor:
            other = use_of(successor)
            assert (other.own_tunnels, other.carried(0)) == (0, 1000)
            assert not other.open_tunnel(1)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_the_next_day_nothing_is_left(tmp_path: Path) -> None:
    with closing(open_ledgers(tmp_path, 0, 1, 7)) as ours:
        use_of(ours).carry(5, 7)
    with closing(open_ledgers(tmp_path, 0, 1, 8)) as ours:
        assert use_of(ours).carried(7) == 0


@pytest.mark.parametrize("trouble", ["no space", "another server"])
def test_without_the_files_a_worker_counts_by_itself_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def no_space(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(machine_ledgers, "LOCK_TRIES", 2)
    with closing(open_ledgers(tmp_path, 0, 2, 0)), capture_logs() as logs:
        if trouble == "no space":
            monkeypatch.setattr(os, "posix_fallocate", no_space)
        with closing(open_ledgers(tmp_path, 0, 2, 0)) as ledgers:
            assert ledgers.others == ()
            assert use_of(ledgers).open_tunnel(1)
    assert [entry["log_level"] for entry in logs] == ["error"]
