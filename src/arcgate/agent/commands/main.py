"""Entry point of `azcmagent`."""

import os
import sys

from arcgate.agent.commands.hidden_arguments import hide
from arcgate.net.standard_streams import fill_standard_streams

CANCELLED = 11
"""The exit code of AZCM0011, for Ctrl-C before there is a command that could tell of it."""


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code."""
    fill_standard_streams()
    try:
        hidden = hide(sys.argv[1:], os.environ)
        # Only now what takes time to import: secrets have left the process list.
        from arcgate.agent.commands.cli import run

        sys.exit(run(sys.argv[1:], hidden))
    except KeyboardInterrupt:
        sys.exit(CANCELLED)


if __name__ == "__main__":
    main()
