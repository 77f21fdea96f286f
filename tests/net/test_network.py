"""The test networks themselves: what the other tests of this folder take for granted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from worlds.authority import Authority
from worlds.network import NAMESPACE_FILES, PREFIX, Host, Network, remove_leftovers
from worlds.network_services import (
    SQUID_PORT,
    NameServer,
    Squid,
    TargetService,
    addresses_of,
    digest,
    digest_of_known_bytes,
)
from worlds.waiting import Unready, wait_until

ALLOWED, NOT_ALLOWED = "allowed.target.example", "other.target.example"


@dataclass
class World:
    """A machine that may talk to Squid alone, and a target that Squid may reach."""

    machine: Host
    name_server: NameServer
    squid: Squid
    target: TargetService
    authority: Authority

    @property
    def trust(self) -> tuple[str, str]:
        return "--cacert", str(self.authority.file)

    @property
    def through_squid(self) -> tuple[str, ...]:
        return "--proxy", self.squid.url, *self.trust


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Network() as net:
        machine, dns, squid_host, target_host = (net.host(name) for name in ("machine", "dns", "squid", "target"))
        names = addresses_of([(ALLOWED, target_host), (NOT_ALLOWED, target_host)])
        name_server = NameServer(dns, {**names, ".below.example": ("198.51.100.77",)}).start()
        squid = Squid(squid_host, dns, (ALLOWED,)).start()
        authority = net.authority()
        target = TargetService(target_host, (ALLOWED, NOT_ALLOWED), authority).start()
        machine.firewall(allow=[(squid_host, SQUID_PORT)])
        yield World(machine, name_server, squid, target, authority)


def test_a_machine_behind_the_firewall_reaches_the_target_through_squid(world: World) -> None:
    got = world.machine.curl(*world.through_squid, world.target.url("/bytes/3000000"))
    got.finished.succeeded()
    assert digest(got.body) == digest_of_known_bytes(3_000_000)
    assert any("CONNECT" in line and ALLOWED in line for line in world.squid.requests)


def test_the_same_request_without_squid_vanishes_in_the_firewall(world: World) -> None:
    before = world.machine.stopped_packets
    target = f"{ALLOWED}:443:{world.target.host.address}:443"
    got = world.machine.curl("--connect-timeout", "2", "--connect-to", target, *world.trust, world.target.url("/"))
    assert got.code == 28
    assert world.machine.stopped_packets > before


def test_squid_refuses_a_name_that_is_not_listed(world: World) -> None:
    got = world.machine.curl(*world.through_squid, world.target.url("/", NOT_ALLOWED))
    assert (got.code, got.connect_status) == (56, 403)


def test_the_target_says_who_asked_and_counts_bytes_below_tls(world: World) -> None:
    position = len(world.target.connections)
    got = world.machine.curl(*world.through_squid, world.target.url("/"))
    assert got.body.decode() == f'{{"peer": "{world.squid.host.address}"}}'
    connection = world.target.ended_connection(position)
    assert connection["requests"] == ["GET /"]
    assert connection["received"] > 300
    assert connection["sent"] > 500


def test_an_upload_arrives_whole(world: World, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"some bytes" * 100_000)
    got = world.machine.curl(*world.through_squid, "--upload-file", str(file), world.target.url("/upload"))
    assert digest(file.read_bytes()) in got.body.decode()


def test_names_are_answered_as_scripted_and_the_questions_are_kept(world: World) -> None:
    squid = world.squid.host
    squid.resolve_by(world.name_server.host)
    assert squid.run("getent", "ahostsv4", "later.example").code == 2
    world.name_server.answer("later.example", "198.51.100.200")
    assert "198.51.100.200" in squid.run("getent", "ahostsv4", "later.example").succeeded().output
    assert "198.51.100.77" in squid.run("getent", "ahostsv4", "some.below.example").succeeded().output
    assert "later.example" in world.name_server.questions_of(squid)
    assert not world.name_server.questions_of(world.machine)


def test_a_service_that_ends_early_is_reported_with_its_words(world: World) -> None:
    service = world.machine.start("short", "sh", "-c", "echo no such luck; exit 3")
    with pytest.raises(Unready, match=r"(?s)ended with 3.*no such luck"):
        service.ready_when(lambda: False, "it is ready")


def test_a_network_leaves_nothing_behind_after_a_failure() -> None:
    net = Network()

    def fail_in_a_network() -> None:
        with net:
            net.host("one").start("sleeper", "sh", "-c", "sleep 1000 & sleep 1000")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_a_network()
    (sleeper,) = net.hosts["one"].services
    folder, namespaces = net.folder, [net.namespace("one"), net.namespace("switch")]
    assert not sleeper.is_running
    assert not folder.exists()
    for namespace in namespaces:
        assert not Path("/run/netns", namespace).exists()
        assert not (NAMESPACE_FILES / namespace).exists()


def test_what_a_killed_run_left_is_removed_by_the_next_one() -> None:
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from worlds.network import Network\n"
        "net = Network().__enter__(); net.host('one').run('sh', '-c', 'sleep 1000 >/dev/null 2>&1 &')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen([sys.executable, "-c", script, tests]) as process:
        process.wait()
    left = f"{PREFIX}-{process.pid}-0-one"
    assert Path("/run/netns", left).exists()
    remove_leftovers()
    wait_until(lambda: not Path("/run/netns", left).exists(), "the namespace is gone")
    assert not (NAMESPACE_FILES / left).exists()
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"{PREFIX}-{process.pid}-*"))
