"""The node's loops, whose end nobody would notice: what fails is tried again, and nothing stops them."""

import json
import ssl
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Target
from arcgate.core.snapshot import Snapshot
from arcgate.gateway import node as module
from arcgate.gateway.node import ControlPlane, SnapshotWatch
from arcgate.gateway.node_tls import NodeTls, TlsFiles
from arcgate.net.http_client import Answer, HttpClient
from arcgate.net.streams import ByteStream
from arcgate.net.tasks import cancel, spawn
from worlds.waiting import until

pytestmark = pytest.mark.anyio

CLOUD = {"kind": "cloud", "key": "cloud", "body": {"domain": "arcgate.test", "controlHosts": []}}


def _nowhere(_target: Target) -> Awaitable[ByteStream]:
    raise AssertionError("nothing is dialled here")


class Scripted(ControlPlane):
    """Gives the answers of a script, then fails."""

    def __init__(self, *answers: object) -> None:
        super().__init__(
            HttpClient(_nowhere, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)), "https://control.test", "secret"
        )
        self.answers = list(answers)
        self.asked: list[str] = []

    async def ask(self, method: str, path: str, document: Any = None, *, timeout: float = 30) -> Answer:
        self.asked.append(path)
        if not self.answers:
            raise HopError(Hop.TCP, "TCP_REFUSED", "Nobody is there.")
        answer = self.answers.pop(0)
        return Answer(200, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def revision(number: int) -> dict[str, object]:
    return {"revision": number, "entries": [{**CLOUD, "revision": number}]}


async def test_a_full_disk_does_not_keep_the_next_revision_from_coming_into_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    published: list[Snapshot] = []
    control = Scripted(revision(1), revision(2))
    follow = spawn("follow", SnapshotWatch(control, tmp_path / "snapshot.json", published.append).follow())
    await until(lambda: len(published) == 2)
    assert [one.revision for one in published] == [1, 2]
    await cancel(follow)


async def test_answers_that_make_no_sense_change_nothing_and_are_asked_for_again(tmp_path: Path) -> None:
    published: list[Snapshot] = []
    control = Scripted(b"", b"[]", {"revision": "x", "entries": 5}, revision(3))
    follow = spawn("follow", SnapshotWatch(control, tmp_path / "snapshot.json", published.append).follow())
    await until(lambda: bool(published))
    assert [one.revision for one in published] == [3]
    await cancel(follow)


@pytest.mark.parametrize(
    "certificate", [b"no JSON", {"certificate": 5}, {}, {"certificate": "no PEM", "chain": "none"}]
)
async def test_a_certificate_that_is_none_leaves_the_node_asking(tmp_path: Path, certificate: object) -> None:
    authority = {"machineAuthorities": "none yet"}
    control = Scripted(authority, certificate, authority, certificate)
    tls = NodeTls(control, TlsFiles(tmp_path), "*.gw.arcgate.test", None, ssl.TLSVersion.TLSv1_3)
    keeping = spawn("keep", tls.keep())
    await until(lambda: control.asked.count("/node/v1/certificate") >= 2)
    assert not tls.is_ready.is_set()
    assert not keeping.done()
    await cancel(keeping)
