"""Entry point of `azcmagent`."""

import os
import sys

from arcgate.agent.commands.hidden_arguments import hide


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code."""
    hidden = hide(sys.argv[1:], os.environ)
    # Only now what takes time to import: secrets have left the process list.
    from arcgate.agent.commands.cli import run

    sys.exit(run(sys.argv[1:], hidden))


if __name__ == "__main__":
    main()
