"""`make profile`: flame graphs of Arc Proxy and gateway while tunnels are set up, 64 at once. Needs py-spy."""

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from load import measure, running
from systems import arcgate

RESULTS = Path(__file__).with_name("results")
SET_UPS = 10_000


def main() -> None:
    """Record both hops during one measurement."""
    program = shutil.which("py-spy")
    if program is None:
        sys.exit("py-spy is missing: pip install py-spy")
    RESULTS.mkdir(exist_ok=True)
    with running("target") as (target, _), arcgate(target) as system, contextlib.ExitStack() as stack:
        recorders = []
        for name, pid in zip(("gateway", "arcproxyd"), system.pids, strict=True):
            command = [program, "record", "--rate", "200", "--duration", "600", "--pid", str(pid)]
            file = str(RESULTS / f"profile-{name}.svg")
            recorders.append(stack.enter_context(subprocess.Popen([*command, "--output", file])))
        print(measure("setup", system.proxy, target, SET_UPS, 64))
        for recorder in recorders:
            recorder.send_signal(signal.SIGINT)
            recorder.wait()


if __name__ == "__main__":
    main()
