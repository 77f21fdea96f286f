"""File descriptors: as many as we may have, and how to tell that they have run out. A tunnel takes two."""

import contextlib
import errno
import sys
from typing import Final

OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Error numbers of a process or system that has none left for a socket or pipe."""


def use_all_descriptors() -> None:
    """Raise the process's own limit to what it is allowed."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
