"""Standard streams that were closed by whoever started the process."""

import subprocess
import sys

FILL = "from arcgate.net.standard_streams import fill_standard_streams, give_up_output\n"


def _run(program: str, redirections: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, FILL + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_closed_streams_take_what_is_written_and_no_other_file_becomes_one_of_them() -> None:
    program = "fill_standard_streams()\nprint('lost')\nassert open('/dev/null').fileno() > 2"
    done = _run(program, "<&- >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_after_an_output_is_given_up_the_last_flush_does_not_complain() -> None:
    done = _run("try:\n    print('lost', flush=True)\nexcept OSError:\n    give_up_output()", ">/dev/full")
    assert (done.returncode, done.stderr) == (0, "")
