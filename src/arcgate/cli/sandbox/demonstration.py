"""`arcgate sandbox --once`: real requests through all hops, and whether everything that was promised held."""

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from arcgate.cli.audit_commands import read_audit, render_records
from arcgate.cli.output import render_table
from arcgate.cli.sandbox.own_client import fetch
from arcgate.cli.sandbox.plan import TARGET_HOST, TRAP_HOST, SandboxOptions
from arcgate.cli.sandbox.programs import run_program, without_proxies
from arcgate.cli.sandbox.target import Counted, CountingTarget, counting_target
from arcgate.cli.sandbox.world import Progress, Sandbox, build
from arcgate.cli.supervisor import Supervisor
from arcgate.core.names import HostName, Target

DOWNLOAD = 5_000_000
UPLOAD = 1_000_000
TRAP_ADDRESS = "169.254.169.254"
AUDIT_TIMEOUT = 15.0
"""Seconds for the records to arrive at the control plane."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a client says of one request: bytes of the bodies, and the answer's status; 0 without one."""

    status: int
    connect_status: int
    downloaded: int
    uploaded: int


@dataclass
class Report:
    """Collects what held and what didn't."""

    show: Callable[[str], None]
    failures: list[str] = field(default_factory=list)

    def check(self, held: bool, promise: str) -> None:
        """Note one promise."""
        self.show(f"  {'ok  ' if held else 'FAIL'}  {promise}")
        if not held:
            self.failures.append(promise)

    def head(self, text: str) -> None:
        """Begin a part."""
        self.show(f"\n== {text} ==")


async def demonstrate(folder: Path, options: SandboxOptions, supervisor: Supervisor, progress: Progress) -> int:
    """Build a sandbox, use it, and return 0 only if all held."""
    async with counting_target(folder, TARGET_HOST) as target:
        trap = Target(HostName(TRAP_HOST), 443)
        wanted = replace(
            options,
            hosts={TARGET_HOST: "127.0.0.1", TRAP_HOST: TRAP_ADDRESS},
            demonstration=(Target(HostName(TARGET_HOST), target.port), trap),
        )
        sandbox = await build(folder, wanted, supervisor, progress)
        await sandbox.machine.wait_until_allowed(trap.authority)
        return await Demonstration(sandbox, target, Report(click.echo)).run()


class Demonstration:
    """One run through a sandbox that is ready."""

    def __init__(self, sandbox: Sandbox, target: CountingTarget, report: Report) -> None:
        self._sandbox = sandbox
        self._target = target
        self._report = report
        self._proxy = f"http://127.0.0.1:{sandbox.machine.proxy_port}"

    async def run(self) -> int:
        """Run all parts and return the exit code."""
        self._report.head("Requests: client, Arc Proxy, gateway, target")
        transfers = [await self._transfer(f"/{DOWNLOAD}"), await self._transfer("/upload", UPLOAD)]
        refused = await self._refused()
        self._check_transfers(transfers, refused)
        await self._show_agent()
        records = await self._wait_for_records()
        self._report.head("arcgate audit")
        self._report.show(render_records(records, "table"))
        compare(self._report, transfers, self._target.connections, records)
        return self._conclude()

    async def _transfer(self, path: str, upload: int = 0) -> Transfer:
        url = f"https://{TARGET_HOST}:{self._target.port}{path}"
        return await self._curl(url, upload) if shutil.which("curl") else await self._fetch(url, upload)

    async def _refused(self) -> Transfer:
        url = f"https://{TRAP_HOST}/latest/meta-data"
        return await self._curl(url, 0) if shutil.which("curl") else await self._fetch(url, 0)

    async def _curl(self, url: str, upload: int) -> Transfer:
        body = self._sandbox.folder / "upload"
        body.write_bytes(bytes(upload))
        sent = ("--request", "PUT", "--data-binary", f"@{body}", "--header", "Expect:") if upload else ()
        quiet = ("--silent", "--output", "/dev/null", "--write-out", "%{json}", "--max-time", "30")
        trust = ("--cacert", str(self._target.ca_file), "--noproxy", "")
        self._report.show(f"$ curl --proxy {self._proxy} {'--request PUT ' if upload else ''}{url}")
        finished = await run_program(
            ("curl", "-q", *quiet, *trust, "--proxy", self._proxy, *sent, url), without_proxies()
        )
        try:
            said = json.loads(finished.output)
        except ValueError:
            said = {}
        return Transfer(
            int(said.get("http_code", 0)),
            int(said.get("http_connect", 0)),
            int(said.get("size_download", 0)),
            int(said.get("size_upload", 0)),
        )

    async def _fetch(self, url: str, upload: int) -> Transfer:
        self._report.show(f"GET {url} through {self._proxy} (there is no curl here)")
        return Transfer(*await fetch(self._sandbox.machine.proxy_port, url, bytes(upload), self._target.ca_pem))

    def _check_transfers(self, transfers: list[Transfer], refused: Transfer) -> None:
        down, up = transfers
        self._report.check(down.status == 200 and down.downloaded == DOWNLOAD, f"{DOWNLOAD} bytes came down whole")
        self._report.check(up.status == 200 and up.uploaded == UPLOAD, f"{UPLOAD} bytes went up whole")
        promise = f"{TRAP_HOST}, an allowed name that resolves to {TRAP_ADDRESS}, is refused with 403"
        self._report.check(refused.connect_status == 403, promise)

    async def _show_agent(self) -> None:
        for command in ("show", "check"):
            self._report.head(f"azcmagent {command}")
            finished = await self._sandbox.machine.run(command)
            self._report.show(finished.output.rstrip() or finished.errors.rstrip())
            self._report.check(finished.code == 0, f"azcmagent {command} ended with exit code 0")
            if command == "show":
                proxy = f"localhost:{self._sandbox.machine.proxy_port}"
                for label, value in (("Agent Status", "Connected"), ("Using HTTPS Proxy", proxy)):
                    found = any(label in line and value in line for line in finished.output.splitlines())
                    self._report.check(found, f"{label} is {value}")

    async def _wait_for_records(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(AUDIT_TIMEOUT):
                while not self._are_complete(records):
                    records = await read_audit(
                        self._sandbox.session, {"target": "sandbox-demo.test"}, 50, None, only_open=False
                    )
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pass  # the comparison says what is missing
        return records

    @staticmethod
    def _are_complete(records: list[dict[str, Any]]) -> bool:
        events = [record["event"] for record in records]
        return events.count("end") >= 2 and "refusal" in events

    def _conclude(self) -> int:
        failures = self._report.failures
        self._report.show("\nEverything held." if not failures else f"\n{len(failures)} of the promises did not hold.")
        self._report.show("\nWhat to type next:")
        self._report.show("  arcgate sandbox           the same system, running until Ctrl-C, with commands to try")
        self._report.show("  arcgate config example    the settings of a real server")
        self._report.show("  arcgate serve --help      how to run one")
        return 1 if failures else 0


def compare(
    report: Report, transfers: Sequence[Transfer], counted: Sequence[Counted], records: Sequence[Mapping[str, Any]]
) -> None:
    """Check audit records, newest first, against what target and client counted."""
    ends = [record for record in reversed(records) if record["event"] == "end"]
    starts = [record for record in records if record["event"] == "start"]
    refusals = [record for record in records if record["event"] == "refusal"]
    report.head("The audit's bytes beside the target's and the client's (bodies alone)")
    rows = rows_of(ends, counted, transfers)
    heads = ("AUDIT UP", "TARGET UP", "CLIENT UP", "AUDIT DOWN", "TARGET DOWN", "CLIENT DOWN")
    report.show(render_table(heads, rows))
    equal = [row[0] == row[1] and row[3] == row[4] for row in rows]
    report.check(len(equal) == len(transfers) and all(equal), "each tunnel's record has the target's bytes exactly")
    reason = refusals[0]["reason"] if refusals else "missing"
    report.check(len(refusals) == 1, f"the refusal is recorded once, its reason is {reason}")
    complete = len(starts) == len(ends) == len(transfers)
    report.check(complete, "each tunnel has one start and one end record")


def rows_of(
    ends: Sequence[Mapping[str, Any]], counted: Sequence[Counted], transfers: Sequence[Transfer]
) -> list[list[str]]:
    """Return the table's rows: what audit, target and client say of each tunnel."""
    return [
        [
            str(record["bytesUp"]),
            str(target.received),
            str(transfer.uploaded),
            str(record["bytesDown"]),
            str(target.sent),
            str(transfer.downloaded),
        ]
        for record, target, transfer in zip(ends, counted, transfers, strict=False)
    ]
