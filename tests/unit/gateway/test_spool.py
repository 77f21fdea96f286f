"""The spool: nothing is lost, nothing is sent for ever, and missing ends are written after a crash."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arcgate.core.audit import AuditRecord, Event
from arcgate.core.errors import StateError
from arcgate.core.verdicts import EndReason
from arcgate.gateway.spool import Spool, SpoolFull

START = AuditRecord(
    event=Event.START,
    tunnel_id="t-0",
    correlation_id="c",
    time="2026-01-01T00:00:00.000+00:00",
    node="n/0",
    machine_id="m",
    machine="",
    tenant_id="",
    subscription_id="",
    gateway="",
    client_address="192.0.2.1",
    target="example.com:443",
    resolved_address="192.0.2.2",
    feature="F",
    rule="example.com",
    verdict="allowed",
    reason="feature",
    detail="",
    policy_revision=1,
)


def start(number: int) -> AuditRecord:
    return replace(START, tunnel_id=f"t-{number}")


def end(number: int) -> AuditRecord:
    return replace(start(number), event=Event.END, reason="completed", bytes_up=1, bytes_down=2, duration=0.5)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    one = Spool(tmp_path / "spool")
    yield one
    one.close()


def unsent(spool: Spool, limit: int = 1000) -> tuple[list[AuditRecord], tuple[int, int]]:
    lines, position = spool.unsent(limit)
    return [AuditRecord.from_json(json.loads(line)) for line in lines], position


def take(spool: Spool, limit: int = 1000) -> list[tuple[str, Event]]:
    """Take and forget everything, as the sender does."""
    taken: list[tuple[str, Event]] = []
    while True:
        records, position = unsent(spool, limit)
        if not records:
            return taken
        taken += [(record.tunnel_id, record.event) for record in records]
        spool.forget(position)


def test_records_come_out_once_in_the_order_that_they_went_in(spool: Spool) -> None:
    for number in range(10):
        spool.append(start(number))
        spool.append(end(number))
    expected = [(f"t-{number}", event) for number in range(10) for event in (Event.START, Event.END)]
    assert take(spool, limit=3) == expected
    assert take(spool) == []


def test_what_was_not_forgotten_is_sent_again(spool: Spool) -> None:
    spool.append(start(1))
    assert unsent(spool)[0] == unsent(spool)[0] == [start(1)]


def test_segments_that_were_sent_are_deleted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_size=2000)
    for number in range(50):
        spool.append(start(number))
        spool.append(end(number))
    assert len(list(tmp_path.glob("*.jsonl"))) > 5
    assert len(take(spool)) >= 100
    assert len(list(tmp_path.glob("*.jsonl"))) <= 2
    spool.close()


def test_a_new_segment_begins_with_the_tunnels_that_are_still_open(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_size=2000)
    spool.append(start(0))
    for number in range(1, 50):
        spool.append(start(number))
        spool.append(end(number))
    take(spool)
    spool.close()
    again = Spool(tmp_path)
    assert again.recover("2026-01-02T00:00:00.000+00:00") == 1
    ends = [record for record in unsent(again)[0] if record.event is Event.END]
    assert [(record.tunnel_id, record.reason, record.bytes_up) for record in ends] == [
        ("t-0", EndReason.NODE_LOST, None)
    ]
    again.close()


def test_after_kill_nine_every_start_without_an_end_gets_one(tmp_path: Path) -> None:
    program = f"""
import json, os, signal
from dataclasses import replace
from pathlib import Path
from arcgate.core.audit import AuditRecord, Event
from arcgate.gateway.spool import Spool
spool = Spool(Path({str(tmp_path)!r}))
record = AuditRecord.from_json(json.loads({json.dumps(json.dumps(START.to_json()))}))
for number in range(20):
    spool.append(replace(record, tunnel_id=f"t-{{number}}"))
    if number % 2:
        spool.append(replace(record, tunnel_id=f"t-{{number}}", event=Event.END))
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.run([sys.executable, "-c", program], check=False)
    assert process.returncode == -signal.SIGKILL
    spool = Spool(tmp_path)
    assert spool.recover("later") == 10
    taken = take(spool)
    for number in range(20):
        assert taken.count((f"t-{number}", Event.END)) == 1
        assert (f"t-{number}", Event.START) in taken
    assert spool.recover("later") == 0
    spool.close()


def test_a_half_written_line_is_passed_over_and_the_next_record_is_whole(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(start(1))
    spool.close()
    with (tmp_path / "00000001.jsonl").open("ab") as file:
        file.write(b'{"event": "start", "tunnelId"')
    again = Spool(tmp_path)
    again.append(start(2))
    assert take(again) == [("t-1", Event.START), ("t-2", Event.START)]
    again.close()


def test_a_start_that_cannot_be_written_raises_and_an_end_is_kept_until_it_can(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(start(1))
    spool.append(start(2))
    real = os.write
    with monkeypatch.context() as full:
        # The first bytes still fit, as on a disk that fills up in the middle of a line.
        full.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:10]))
        with pytest.raises(SpoolFull):
            spool.append(start(3))
        spool.append(end(1))
        with pytest.raises(SpoolFull):
            spool.append(start(4))
    spool.append(end(2))
    ids = take(spool)
    assert ids == [("t-1", Event.START), ("t-2", Event.START), ("t-1", Event.END), ("t-2", Event.END)]


def test_the_start_of_an_open_tunnel_can_be_read_again_in_later_segments_and_behind_torn_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, segment_size=2000)
    text = "ü" * 300
    long = replace(start(0), target=text, detail=text, rule=text, feature=text, machine=text, gateway=text)
    spool.append(long)
    real = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:10]))
        with pytest.raises(SpoolFull):
            spool.append(start(1))
    spool.append(start(2))
    for number in range(3, 30):
        spool.append(start(number))
        spool.append(end(number))
    assert len(list(tmp_path.glob("*.jsonl"))) > 3
    for tunnel_id, record in (("t-0", long), ("t-2", start(2))):
        line = spool.start_of(tunnel_id)
        assert line is not None
        assert AuditRecord.from_json(json.loads(line)) == record
    assert spool.start_of("t-1") is spool.start_of("t-3") is None
    spool.close()


def test_a_new_segment_that_cannot_be_begun_leaves_the_one_before_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, segment_size=2000)
    spool.append(start(0))
    with monkeypatch.context() as broken:
        broken.setattr(Spool, "_carry_starts", refuse)
        for number in range(1, 20):
            spool.append(start(number))
            spool.append(end(number))
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["00000001.jsonl"]
    spool.append(start(20))
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    line = spool.start_of("t-0")
    assert line is not None
    assert AuditRecord.from_json(json.loads(line)) == start(0)
    spool.close()


def refuse(_spool: Spool, _file: int) -> None:
    raise OSError("no space left")


def test_two_processes_cannot_share_a_spool(tmp_path: Path, spool: Spool) -> None:
    with pytest.raises(StateError, match="in use"):
        Spool(tmp_path / "spool")


def test_hostile_names_stay_on_one_line(spool: Spool) -> None:
    hostile = replace(start(1), target="a\r\nb\x1b[2J\u202e\u2028\ud800" + "x" * 1000, detail='","verdict":"allowed')
    spool.append(hostile)
    (record,), _ = unsent(spool)
    assert "\n" not in record.target
    assert "\x1b" not in record.target
    assert len(record.target) <= 300
    assert record.detail == '","verdict":"allowed'
