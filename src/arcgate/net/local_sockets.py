"""Unix sockets between the processes of one server, in folders that are theirs alone."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arcgate.core.errors import StateError
from arcgate.net.listener import BACKLOG


def listen_locally(path: Path) -> socket.socket:
    """Return a socket that listens at a path, in place of an earlier one; raises StateError (LISTEN_FAILED)."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with _short(path) as name:
            listening.bind(name)
        path.chmod(0o600)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise StateError("LISTEN_FAILED", f"Can't listen on {path}.", cause=str(error)) from None
    return listening


def connect_locally(path: Path) -> socket.socket:
    """Return a connection to the socket at a path; raises OSError."""
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _short(path) as name:
            connecting.connect(name)  # never waits: a full backlog is an error
    except OSError:
        connecting.close()
        raise
    return connecting


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name for the path that fits into a socket's address, which has 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
