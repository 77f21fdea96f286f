"""A file that a process is killed over is the old or the new one, never a part of one."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

WRITER = """
import sys
from pathlib import Path
from arcgate.net.files import write_json
path = Path(sys.argv[1])
number = int(sys.argv[2])
print("ready", flush=True)
while True:
    number += 1
    write_json(path, {"number": number, "filling": "x" * 50_000, "again": number})
"""


def check(path: Path) -> int:
    document = json.loads(path.read_bytes())
    assert document["number"] == document["again"]
    assert len(document["filling"]) == 50_000
    return int(document["number"])


def test_readers_see_whole_files_while_writers_are_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    chooser = random.Random(1)
    number = reads = 0
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        stop = time.monotonic() + chooser.uniform(0.01, 0.15)
        while time.monotonic() < stop:
            if path.exists():
                check(path)
                reads += 1
        writer.kill()
        writer.wait()
        writer.stdout.close()
        if path.exists():
            assert check(path) >= number
            number = check(path)
    assert number > 8
    assert reads > 8
