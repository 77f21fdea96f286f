"""The three streams that every command is started with, and that whoever starts it may have closed or filled."""

import os
import sys


def fill_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams: the next file or socket would become one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(descriptor, True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def give_up_output() -> None:
    """Let go of a standard output that takes nothing: the interpreter's own last flush must not complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
