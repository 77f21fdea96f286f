"""The spool: audit records on disk until the control plane has taken them, whatever dies in between.

A record is written (write(2)) before the tunnel goes on, so kill -9 of this process loses none; it is synced
to the disk in small batches, so a power cut loses at most `SYNC_INTERVAL` seconds. Segments are JSON lines.
A new segment begins with the start records of all tunnels that are still open: whoever finds a start without
an end after a crash writes the end, with reason node_lost. The control plane drops what it has already.
"""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from arcgate.core.audit import AuditRecord, Event
from arcgate.core.errors import StateError
from arcgate.core.verdicts import EndReason

SEGMENT_SIZE = 8 * 1024 * 1024
"""Bytes after which a new segment begins."""

USUAL_LINE = 2048
"""Bytes that a record has at most, as a rule."""

SYNC_INTERVAL = 0.05
"""Seconds between syncs while records are coming."""

_log = structlog.get_logger(__name__)


class SpoolFull(Exception):
    """A record can't be written; the gateway must let nothing through."""


class Spool:
    """The spool of one worker: `append` to it, take batches from it with `unsent`, and `forget` what was sent."""

    def __init__(self, folder: Path, segment_size: int = SEGMENT_SIZE) -> None:
        self._folder = folder
        self._segment_size = segment_size
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(folder)
        self._open: dict[str, int] = {}
        """Where in the segment the starts of open tunnels are. Their texts would be most of an idle tunnel's memory."""
        self._late: list[tuple[str, str]] = []
        """Ends that could not be written yet, with their tunnels' ids."""
        self._torn = False
        self._dirty = False
        self.news = asyncio.Event()
        """Set while there may be records to send."""
        self._number = max(self._segments(), default=0)
        self._file = -1
        self._end = 0
        self._size = 0
        self._begin_segment()

    def append(self, record: AuditRecord) -> None:
        """Write a record; raises SpoolFull for a start or refusal, and keeps an end until it can be written."""
        self.append_line(record.event, record.tunnel_id, json.dumps(record.to_json(), separators=(",", ":")))

    def append_line(self, event: Event, tunnel_id: str, line: str) -> None:
        """Write a record that is JSON already; see `append`."""
        try:
            self._write_late()
            self._write(event, tunnel_id, line)
        except OSError as error:
            if event is Event.END:
                self._late.append((tunnel_id, line))
                return
            raise SpoolFull(str(error)) from None

    def start_of(self, tunnel_id: str) -> bytes | None:
        """Return the start record of an open tunnel as it was written; None when it can't be read."""
        place = self._open.get(tunnel_id)
        if place is None:
            return None
        try:
            return self._line_at(place).rstrip(b"\n")
        except OSError:
            return None

    def recover(self, now: str) -> int:
        """Write the missing ends of tunnels that an earlier process left open; return how many."""
        starts: dict[str, AuditRecord] = {}
        for number in self._segments():
            for record in self._records(number):
                if record.event is Event.START:
                    starts[record.tunnel_id] = record
                elif record.event is Event.END:
                    starts.pop(record.tunnel_id, None)
        for start in starts.values():
            self.append(replace(start, event=Event.END, time=now, reason=EndReason.NODE_LOST, detail=""))
        return len(starts)

    def unsent(self, limit: int) -> tuple[list[bytes], tuple[int, int]]:
        """Return up to `limit` records not sent yet, as JSON, and the position behind them, for `forget`."""
        number, offset = self._sent()
        for segment in self._segments():
            if segment < number:
                continue
            start = offset if segment == number else 0
            lines, end = self._read(segment, start, limit)
            if lines:
                return lines, (segment, end)
        return [], (number, offset)

    def forget(self, position: tuple[int, int]) -> None:
        """Note that everything before the position was sent, and delete segments that hold nothing else."""
        number, offset = position
        mark = self._folder / "sent"
        temporary = self._folder / "sent.new"
        temporary.write_text(f"{number} {offset}\n")
        temporary.replace(mark)
        for segment in self._segments():
            if segment < number and segment != self._number:
                self._path(segment).unlink(missing_ok=True)

    async def keep_synced(self) -> None:
        """Sync to the disk for as long as it runs."""
        while True:
            await asyncio.sleep(SYNC_INTERVAL)
            if self._late:
                with contextlib.suppress(OSError):
                    self._write_late()
            if self._dirty:
                self._dirty = False
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(os.fdatasync, self._file)

    def close(self) -> None:
        """Write what was kept back, sync and let go of the files."""
        with contextlib.suppress(OSError):
            self._write_late()
            os.fdatasync(self._file)
        os.close(self._file)
        os.close(self._lock)

    def _write_late(self) -> None:
        while self._late:
            self._write(Event.END, *self._late[0])
            self._late.pop(0)

    def _write(self, event: Event, tunnel_id: str, line: str) -> None:
        place = self._write_line(line)
        if event is Event.START:
            self._open[tunnel_id] = place
        elif event is Event.END:
            self._open.pop(tunnel_id, None)
        if self._size > self._segment_size:
            with contextlib.suppress(OSError):  # the record is written; this segment goes on, and the next one tries
                self._begin_segment()

    def _write_line(self, line: str) -> int:
        """Write a line; return where it begins."""
        # After a torn write the next record begins on a line of its own.
        data = (("\n" if self._torn else "") + line + "\n").encode("ascii")
        place = self._end + self._torn
        self._torn = True
        written = os.write(self._file, data)
        self._end += written
        if written < len(data):
            raise OSError(f"only {written} of {len(data)} bytes could be written")
        self._torn = False
        self._dirty = True
        self._size += len(data)
        self.news.set()
        return place

    def _line_at(self, place: int) -> bytes:
        """Return the line that begins there; raises OSError."""
        size = USUAL_LINE
        while not (end := (piece := os.pread(self._file, size, place)).find(b"\n") + 1):
            if len(piece) < size:
                raise OSError("a line of the spool is cut")
            size *= 2
        return piece[:end]

    def _begin_segment(self) -> None:
        """Go on in a new segment; raises OSError, and then the one before stays in use."""
        path = self._path(self._number + 1)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            places, end = self._carry_starts(file)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number, self._torn = file, self._number + 1, False
        # Carried starts don't count, or many open tunnels would rotate for ever.
        self._open, self._end, self._size = places, end, 0
        if end:
            self._dirty = True
            self.news.set()

    def _carry_starts(self, file: int) -> tuple[dict[str, int], int]:
        """Write the starts of open tunnels to a new segment; return where they are and where it ends."""
        places: dict[str, int] = {}
        end = 0
        for tunnel_id, place in self._open.items():
            line = self._line_at(place)
            if os.write(file, line) < len(line):
                raise OSError("a start could not be carried whole")
            places[tunnel_id] = end
            end += len(line)
        return places, end

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}.jsonl"

    def _segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("[0-9]*.jsonl"))

    def _sent(self) -> tuple[int, int]:
        try:
            number, offset = (self._folder / "sent").read_text().split()
            return int(number), int(offset)
        except (OSError, ValueError):
            return 0, 0

    def _read(self, segment: int, start: int, limit: int) -> tuple[list[bytes], int]:
        lines: list[bytes] = []
        with self._path(segment).open("rb") as file:
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n") and segment == self._number:
                    break  # it is being written
                start += len(line)
                if _is_whole(line):
                    lines.append(line.rstrip(b"\n"))
                if len(lines) == limit:
                    break
        return lines, start

    def _records(self, segment: int) -> Iterator[AuditRecord]:
        with self._path(segment).open("rb") as file:
            for line in file:
                if (record := _parse(line)) is not None:
                    yield record


def _is_whole(line: bytes) -> bool:
    """Say whether a line is a record and not the torn rest of one, without the cost of reading it."""
    if line.startswith(b"{") and line.endswith(b"}\n") and b"\x00" not in line:
        return True
    return _parse(line) is not None


def _parse(line: bytes) -> AuditRecord | None:
    try:
        return AuditRecord.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError):
        if line.strip():
            _log.warning("a damaged line in the spool was passed over", start=repr(line[:60]))
        return None


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StateError(
            "SPOOL_IN_USE", f"{folder} is in use by another process.", remedy="Stop the other gateway first."
        ) from None
    return descriptor
