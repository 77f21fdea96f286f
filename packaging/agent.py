"""The agent's one frozen program: it is azcmagent, himdsd, arcproxyd or extd, by the name that it was called by."""

import os
import sys
from importlib import import_module
from pathlib import PurePath

PROGRAMS = {
    "himdsd": "arcgate.agent.himds.service",
    "himds": "arcgate.agent.himds.service",
    "arcproxyd": "arcgate.agent.proxy.service",
    "extd": "arcgate.agent.extensions.service",
}
"""Modules by name; every other name is the command's."""


def leave_no_trace() -> None:
    """Take the freezer's variables out of the environment: programs that we start have libraries of their own."""
    before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    for name in [one for one in os.environ if one == "LD_LIBRARY_PATH" or one.startswith("_PYI_")]:
        del os.environ[name]
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before


if __name__ == "__main__":
    leave_no_trace()
    module = import_module(PROGRAMS.get(PurePath(sys.argv[0]).name, "arcgate.agent.commands.main"))
    sys.exit(module.main())
