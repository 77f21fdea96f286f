"""The collector of Monitor: the OpenTelemetry SDK, host metrics from /proc, and lines of log files and of the journal.

Its configuration comes by standard input. It runs until SIGTERM, then sends what it has. Its heartbeat says whether
the last export of each kind went well.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "lib"))

import requests
from contract import write
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

EXPORT_TIMEOUT = 10
"""Seconds for an export, with its repetitions."""
HEARTBEAT_INTERVAL = 15.0
"""Seconds."""
MOST_LINES = 1000
"""Lines of a file in one look: what comes faster is sent at the next ones."""
LONGEST_LINE = 16 * 1024
"""Bytes."""
LOOK_INTERVAL = 1.0
"""Seconds between looks at files."""

SEVERITIES = (
    (SeverityNumber.FATAL4, "EMERGENCY"),
    (SeverityNumber.FATAL2, "ALERT"),
    (SeverityNumber.FATAL, "CRITICAL"),
    (SeverityNumber.ERROR, "ERROR"),
    (SeverityNumber.WARN, "WARNING"),
    (SeverityNumber.INFO2, "NOTICE"),
    (SeverityNumber.INFO, "INFO"),
    (SeverityNumber.DEBUG, "DEBUG"),
)
"""The journal's priorities from 0."""


class Outcomes:
    """Which exports failed at their last try."""

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self.failed: dict[str, str] = {}

    def watch(self, kind: str, exporter: Any) -> Any:
        """Have the exporter tell each outcome."""
        export = exporter.export

        def telling(*arguments: Any, **named: Any) -> Any:
            result = export(*arguments, **named)
            if result.name == "SUCCESS":
                self.failed.pop(kind, None)
            else:
                self.failed[kind] = time.strftime("%H:%M:%S UTC", time.gmtime())
            return result

        exporter.export = telling
        return exporter

    def beat(self, path: Path) -> None:
        """Write the heartbeat."""
        told = [f"{kind} could not be sent at {when}" for kind, when in sorted(self.failed.items())]
        message = "; ".join(told) or "What was collected has been sent."
        state = "notReady" if self.failed else "ready"
        text = {"lang": "en-US", "message": message}
        heartbeat = {"status": state, "code": len(self.failed), "formattedMessage": text}
        write(path, [{"version": 1.0, "heartbeat": heartbeat}])


def processor_times(_options: CallbackOptions) -> Iterator[Observation]:
    """Seconds of processor time by state, since boot."""
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:8]
    names = ("user", "nice", "system", "idle", "iowait", "interrupt", "softirq")
    tick = os.sysconf("SC_CLK_TCK")
    for name, word in zip(names, words, strict=False):
        yield Observation(int(word) / tick, {"cpu.mode": name})


def load(_options: CallbackOptions) -> Iterator[Observation]:
    """Load average of a minute."""
    yield Observation(os.getloadavg()[0])


def memory(_options: CallbackOptions) -> Iterator[Observation]:
    """Bytes of memory by state."""
    found = {}
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    free = found.get("MemAvailable", found["MemFree"])
    yield Observation(found["MemTotal"] - free, {"system.memory.state": "used"})
    yield Observation(free, {"system.memory.state": "free"})


def filesystems(_options: CallbackOptions) -> Iterator[Observation]:
    """Bytes of file systems on devices, by mount point and state."""
    seen = set()
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        device, place = line.split()[:2]
        if not device.startswith("/") or device in seen:
            continue
        seen.add(device)
        try:
            usage = os.statvfs(place.replace("\\040", " "))
        except OSError:
            continue
        used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
        yield Observation(used, {"system.filesystem.mountpoint": place, "system.filesystem.state": "used"})
        free = usage.f_bavail * usage.f_frsize
        yield Observation(free, {"system.filesystem.mountpoint": place, "system.filesystem.state": "free"})


def network(_options: CallbackOptions) -> Iterator[Observation]:
    """Bytes by interface and direction, since boot."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii", errors="replace").splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        for direction, word in (("receive", words[0]), ("transmit", words[8])):
            yield Observation(int(word), {"network.interface.name": name.strip(), "network.io.direction": direction})


def measure(provider: MeterProvider) -> None:
    """Have the metrics of this host collected; names are OpenTelemetry's semantic conventions."""
    meter = provider.get_meter("arcgate.monitor")
    meter.create_observable_counter("system.cpu.time", [processor_times], "s")
    meter.create_observable_gauge("system.cpu.load_average.1m", [load], "{run_queue_item}")
    meter.create_observable_up_down_counter("system.memory.usage", [memory], "By")
    meter.create_observable_up_down_counter("system.filesystem.usage", [filesystems], "By")
    meter.create_observable_counter("system.network.io", [network], "By")


class FollowedFile:
    """A log file that is read from where the last one stopped, also when it has been turned over."""

    def __init__(self, path: str, place: "tuple[int, int] | None") -> None:
        """Begin at `place` (number of the file, offset), else at the file's end."""
        self.path = path
        self.place = place
        self.is_new = place is None

    def lines(self) -> list[str]:
        """Return the whole lines that are new."""
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                number, offset = self.place or (status.st_ino, status.st_size if self.is_new else 0)
                if number != status.st_ino or offset > status.st_size:
                    offset = 0
                self.is_new = False
                file.seek(offset)
                data = file.read(MOST_LINES * 256)
        except OSError:
            self.is_new = False  # what appears later is read from its beginning
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and len(data) >= LONGEST_LINE:
            whole = data
        self.place = (status.st_ino, offset + len(whole))
        return [line[:LONGEST_LINE].decode("utf-8", errors="replace") for line in whole.splitlines() if line]


class LogShipper:
    """Emits lines of files and of the journal as log records."""

    def __init__(self, provider: LoggerProvider, configuration: dict[str, Any]) -> None:
        """Begin where the last collector stopped."""
        self.logger = provider.get_logger("arcgate.monitor")
        self.places = Path(configuration["places"])
        known = read_places(self.places)
        self.files = [FollowedFile(path, known.get(path)) for path in configuration["logs"]]

    def ship(self) -> None:
        """Emit what is new."""
        is_changed = False
        for file in self.files:
            for line in file.lines():
                is_changed = True
                self.emit(line, {"log.file.path": file.path})
        if is_changed:
            write(self.places, {file.path: file.place for file in self.files})

    def emit(self, text: str, attributes: dict[str, str], severity: "int | None" = None) -> None:
        """Emit one line."""
        number, name = SEVERITIES[severity] if severity is not None else (SeverityNumber.UNSPECIFIED, "")
        now = time.time_ns()
        self.logger.emit(
            LogRecord(
                timestamp=now,
                observed_timestamp=now,
                severity_number=number,
                severity_text=name or None,
                body=text,
                attributes=attributes,
            )
        )

    def follow_journal(self) -> None:
        """Emit the journal's entries until the collector ends."""
        command = ["journalctl", "--follow", "--output=json", "--lines=0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:  # noqa: S603
            assert process.stdout is not None
            for line in process.stdout:
                try:
                    entry = json.loads(line)
                    text, priority = entry.get("MESSAGE"), int(entry.get("PRIORITY", 6))
                except (ValueError, AttributeError, TypeError):
                    continue
                if isinstance(text, str):
                    unit = str(entry.get("_SYSTEMD_UNIT") or entry.get("SYSLOG_IDENTIFIER") or "")
                    self.emit(text[:LONGEST_LINE], {"journal.unit": unit}, max(0, min(priority, 7)))


def read_places(path: Path) -> dict[str, tuple[int, int]]:
    """Return where the last collector stopped, by file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {name: (int(place[0]), int(place[1])) for name, place in document.items() if place}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        return {}


def session_of(configuration: dict[str, Any]) -> requests.Session:
    """Return what sends: through the proxy of the settings, and no other."""
    session = requests.Session()
    session.trust_env = False
    if configuration["proxy"]:
        session.proxies = {"http": configuration["proxy"], "https": configuration["proxy"]}
    return session


def main() -> int:
    """Collect until SIGTERM."""
    configuration = json.loads(sys.stdin.read())
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    outcomes, interval = Outcomes(), float(configuration["interval"])
    resource = Resource.create({"host.name": os.uname().nodename, "os.type": "linux", **configuration["attributes"]})
    common: dict[str, Any] = {
        "headers": configuration["headers"],
        "timeout": EXPORT_TIMEOUT,
        "certificate_file": configuration["caFile"] or None,
    }
    providers: list[Any] = []
    shipper = None
    if configuration["metrics"]:
        sender = OTLPMetricExporter(
            configuration["endpoint"] + "/v1/metrics", session=session_of(configuration), **common
        )
        reader = PeriodicExportingMetricReader(outcomes.watch("metrics", sender), interval * 1000)
        providers.append(MeterProvider([reader], resource))
        measure(providers[-1])
    if configuration["logs"] or configuration["journal"]:
        writer = OTLPLogExporter(configuration["endpoint"] + "/v1/logs", session=session_of(configuration), **common)
        logs = LoggerProvider(resource)
        delay = min(interval, 5.0) * 1000
        logs.add_log_record_processor(BatchLogRecordProcessor(outcomes.watch("logs", writer), delay))
        providers.append(logs)
        shipper = LogShipper(logs, configuration)
        if configuration["journal"]:
            threading.Thread(target=shipper.follow_journal, daemon=True).start()
    watch(outcomes, Path(configuration["heartbeat"]), shipper, stopping)
    for provider in providers:
        provider.shutdown()
    return 0


def watch(outcomes: Outcomes, heartbeat: Path, shipper: "LogShipper | None", stopping: threading.Event) -> None:
    """Look at the files and write the heartbeat until the end."""
    beaten, told = 0.0, None
    while True:
        if shipper is not None:
            shipper.ship()
        state = dict(outcomes.failed)
        if told != state or time.monotonic() - beaten > HEARTBEAT_INTERVAL:
            beaten, told = time.monotonic(), state
            outcomes.beat(heartbeat)
        if stopping.wait(LOOK_INTERVAL):
            if shipper is not None:
                shipper.ship()
            return


if __name__ == "__main__":
    sys.exit(main())
