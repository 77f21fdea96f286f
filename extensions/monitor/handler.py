"""Monitor: keeps a collector running that sends this host's metrics and logs by OTLP.

Settings: `endpoint` (base URL, needed), `interval` (seconds, 60), `metrics` (true), `logs` (list of files), `journal`
(false), `attributes` (texts by name), `proxy`, `caFile`. Protected: `headers` (texts by name), for keys.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contract import HERE, Surroundings, proxy_of

START_TIMEOUT = 20.0
"""Seconds that the collector gets for its first heartbeat."""
STOP_TIMEOUT = 15.0
"""Seconds that it gets to send what it has before it is killed."""
COLLECTOR = HERE / "collector.py"


def main(command: str) -> int:
    """Run a command of the contract and return its exit code."""
    here = Surroundings()
    if command == "enable":
        return enable(here)
    if command in ("disable", "uninstall"):
        stop(here)
    return 0


def enable(here: Surroundings) -> int:
    """Start the collector with the newest settings."""
    public, protected = here.settings()
    try:
        configuration = configured(public, protected, here)
    except ValueError as error:
        here.tell("Enable", "error", 1, str(error))
        return 1
    stop(here)
    here.heartbeat.unlink(missing_ok=True)
    process = start(here, configuration)
    end = time.monotonic() + START_TIMEOUT
    while not here.heartbeat.exists():
        if process.poll() is not None or time.monotonic() > end:
            here.tell("Enable", "error", 1, "The collector did not start.", Log=last_words(here))
            stop(here)
            return 1
        time.sleep(0.05)
    shown = configuration["endpoint"]
    here.tell("Enable", "success", 0, f"The collector runs, and sends to {shown} each {configuration['interval']:g} s.")
    return 0


def configured(public: dict[str, Any], protected: dict[str, Any], here: Surroundings) -> dict[str, Any]:
    """Return the collector's configuration; raises ValueError with a sentence."""
    parts = urlsplit(str(public.get("endpoint", "")))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("The setting endpoint must be an http or https URL without user and query.")
    interval = public.get("interval", 60)
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0.1 <= interval <= 3600:
        raise ValueError("The setting interval must be from 0.1 to 3600 seconds.")
    logs, headers = public.get("logs", []), protected.get("headers", {})
    attributes = public.get("attributes", {})
    if not isinstance(logs, list) or not all(isinstance(one, str) and os.path.isabs(one) for one in logs):
        raise ValueError("The setting logs must be a list of whole paths.")
    for name, texts in (("headers", headers), ("attributes", attributes)):
        if not isinstance(texts, dict) or not all(isinstance(one, str) for one in texts.values()):
            raise ValueError(f"The setting {name} must be an object of texts.")
    return {
        "endpoint": public["endpoint"].rstrip("/"),
        "interval": interval,
        "metrics": public.get("metrics", True) is True,
        "logs": logs,
        "journal": public.get("journal", False) is True,
        "attributes": attributes,
        "headers": headers,
        "proxy": proxy_of(public),
        "caFile": str(public.get("caFile", "")),
        "heartbeat": str(here.heartbeat),
        "places": str(here.extension / "places.json"),
    }


def start(here: Surroundings, configuration: dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Start the collector, which gets its configuration by standard input: it may hold keys."""
    log = here.log / "collector.log"
    if log.exists() and log.stat().st_size > 1024 * 1024:
        log.replace(log.with_suffix(".log.1"))
    with open(log, "ab") as file:
        process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-sEB", str(COLLECTOR)],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            cwd="/",
            start_new_session=True,
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(configuration).encode())
    process.stdin.close()
    pid_file(here).write_text(f"{process.pid} {started_at(process.pid)}", encoding="ascii")
    return process


def stop(here: Surroundings) -> None:
    """End the collector that was started last, if it still runs."""
    try:
        pid, _, since = pid_file(here).read_text(encoding="ascii").partition(" ")
        number = int(pid)
    except (OSError, ValueError):
        return
    for name, patience in ((signal.SIGTERM, STOP_TIMEOUT), (signal.SIGKILL, 5.0)):
        # A number that another process has by now is not ours to end.
        if not since or started_at(number) != since:
            break
        try:
            os.kill(number, name)
        except ProcessLookupError:
            break
        end = time.monotonic() + patience
        while started_at(number) == since and time.monotonic() < end:
            time.sleep(0.05)
    pid_file(here).unlink(missing_ok=True)


def started_at(pid: int) -> str:
    """Return when a process was started, in clock ticks since boot; empty when it runs no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def pid_file(here: Surroundings) -> Path:
    """Return the file with the collector's number."""
    return here.extension / "collector.pid"


def last_words(here: Surroundings) -> str:
    """Return the end of the collector's log."""
    try:
        return (here.log / "collector.log").read_bytes()[-1000:].decode("utf-8", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
