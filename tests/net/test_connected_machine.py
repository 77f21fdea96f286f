"""A connected machine behind Squid: its association, its open tunnels and its uploads."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from worlds.network_services import digest, digest_of_known_bytes
from worlds.network_stage import ALLOWED_TARGETS, GROUP, MACHINE, PLAIN_TARGET, Stage, stage
from worlds.openssh import SshServer, prepare_ssh_server
from worlds.waiting import wait_until

TALK = r"""
import socket, sys

host = sys.argv[1].encode()
with socket.create_connection(("127.0.0.1", 40343), 20) as proxy:
    proxy.sendall(b"CONNECT %b:80 HTTP/1.1\r\nHost: %b:80\r\n\r\n" % (host, host))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += proxy.recv(1) or sys.exit("no answer")
    proxy.sendall(b"GET /after/2000000 HTTP/1.1\r\n\r\n")
    proxy.shutdown(socket.SHUT_WR)
    while blob := proxy.recv(65536):
        sys.stdout.buffer.write(blob)
"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def connected() -> Iterator[Stage]:
    with stage() as built:
        yield built.onboard(built.create_gateway("first"))


def test_an_upload_arrives_whole_and_its_bytes_are_in_the_audit_row(connected: Stage, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"0123456789abcdef" * 250_000)
    position = len(connected.target.connections)
    sent = connected.fetch("/upload", "--upload-file", str(file))
    assert digest(file.read_bytes()) in sent.body.decode()
    counted = connected.target.ended_connection(position)
    connected.wait_for_record("--event", "end", bytesUp=counted["received"], bytesDown=counted["sent"])


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_the_audit_row_holds_the_bytes_that_curl_counted(connected: Stage, size: int) -> None:
    url = f"http://{PLAIN_TARGET}/bytes/{size}"
    got = connected.machine.curl("--verbose", "--proxytunnel", url)
    # curl counts the heads of CONNECT, which are for Arc Proxy, with those for the target.
    asked, answered = (sum(map(len, head_lines(got.errors, mark)[0])) for mark in (">", "<"))
    record = connected.wait_for_record("--event", "end", correlationId=got.correlation_id)
    assert record["bytesUp"] == got.figure("size_request") + got.figure("size_upload") - asked
    assert record["bytesDown"] == got.figure("size_header") + got.figure("size_download") - answered
    assert got.figure("size_download") == size


def head_lines(verbose: str, mark: str) -> list[list[str]]:
    """Return the heads that curl's --verbose shows after the mark, as lines with their line ends."""
    heads: list[list[str]] = [[]]
    for line in re.findall(rf"^{mark} (.*?)\r?\n", verbose, re.MULTILINE):
        heads[-1].append(line + "\r\n")
        if not line:
            heads.append([])
    return heads[:-1]


def test_a_client_that_ends_its_direction_first_gets_the_other_one_in_full(connected: Stage) -> None:
    file = connected.machine.host.folder / "talk.py"
    file.write_text(TALK)
    got = connected.machine.host.run(
        "sh", "-c", f"{sys.executable} {file} {PLAIN_TARGET} | tail -c 2000000 | sha256sum"
    )
    assert got.output.split()[0] == digest_of_known_bytes(2_000_000), got.errors


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "dns_failed"),
        ("169.254.169.254", "address_not_allowed"),
        ("127.0.0.1", "loop"),  # the gateway itself listens there
        ("10.1.2.3", "address_not_allowed"),
        ("100.64.1.1", "address_not_allowed"),
        ("127.0.0.53", "loop"),
        ("::ffff:10.0.0.1", "address_not_allowed"),
        ("fd00:ec2::254", "address_not_allowed"),
        ("198.51.100.12", "target_refused"),  # the name server: nothing listens on its port 443
    ],
)
def test_an_allowed_name_that_leads_nowhere_good_is_refused_with_its_reason(
    connected: Stage, address: str, reason: str
) -> None:
    name = f"{reason.replace('_', '-')}{next(connected.net.numbers)}.blob.core.windows.net"
    if address:
        connected.name_server.answer(name, address)
    got = connected.fetch("/", "--verbose", target=name)
    assert got.connect_status in {403, 502}
    assert f"Arcgate-Reason: {reason}" in got.errors
    assert connected.wait_for_record("--verdict", "refused", target=f"{name}:443")["reason"] == reason


def test_the_zip_of_logs_holds_the_requests_and_no_secret(connected: Stage, tmp_path: Path) -> None:
    connected.fetch("/")
    file = tmp_path / "logs.zip"
    connected.machine.azcmagent("logs", "--output", str(file)).succeeded()
    with ZipFile(file) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert ALLOWED_TARGETS[0] in texts["log/arcproxy.log"]
    key = "".join((connected.machine.home / "certs/machine.key").read_text().splitlines()[1:-1])
    for text in texts.values():
        assert "PRIVATE KEY" not in text
        assert key[:40] not in text


def test_an_open_tunnel_is_listed_until_it_has_ended(connected: Stage) -> None:
    def open_tunnels() -> list[tuple[str, str]]:
        # The agent's own tunnel to the control plane is always there as well.
        found = connected.operator.records("--open", "--target", ALLOWED_TARGETS[0])
        return [(one["machine"].rpartition("/")[2], one["target"]) for one in found]

    assert open_tunnels() == []
    download = connected.fetch_slowly(100_000)
    wait_until(lambda: open_tunnels() == [(MACHINE, f"{ALLOWED_TARGETS[0]}:443")], "the tunnel is listed")
    download.kill()
    wait_until(lambda: open_tunnels() == [], "no tunnel is listed any more")


def test_the_machines_own_log_tells_the_route_of_each_request(connected: Stage) -> None:
    connected.fetch("/", target=ALLOWED_TARGETS[1])
    record = connected.wait_for_record("--target", ALLOWED_TARGETS[1], event="end")

    def lines_of_it() -> list[str]:
        return [line for line in connected.machine.proxy_log.splitlines() if record["correlationId"] in line]

    wait_until(lines_of_it, "the request's correlation id is in the log")
    assert all(ALLOWED_TARGETS[1] in line and "gateway" in line for line in lines_of_it())


def test_ssh_reaches_the_machine_that_only_goes_out_by_squid(connected: Stage, tmp_path: Path) -> None:
    machine = connected.machine.host
    machine.start("sshd", *prepare_ssh_server(tmp_path, 22)).ready_when(lambda: machine.listens(22), "sshd listens")
    connected.machine.azcmagent("config", "set", "incomingconnections.ports", "22").succeeded()
    connected.operator.arcgate("machine", "allow-login", "-n", MACHINE, "-g", GROUP).succeeded()
    server = SshServer(22, tmp_path)
    words = ("ssh", f"{server.user}@{MACHINE}", "--", *server.options, "ip -4 -o address show")
    shown = connected.operator.arcgate(*words).succeeded()
    assert machine.address in shown.output
    end = connected.wait_for_record("--event", "end", direction="incoming", reason="completed")
    assert end["target"] == "127.0.0.1:22"


def test_another_association_is_picked_up_by_the_agent_itself(
    connected: Stage, measured: Callable[[str, float], None]
) -> None:
    second = connected.create_gateway("second")
    begin = time.monotonic()
    connected.associate(second["id"])
    connected.machine.wait_for_goal(second["properties"]["gatewayEndpoint"])
    measured("'arcgate setting update' typed, the new gateway in force on the machine after", time.monotonic() - begin)
    got = connected.fetch("/", "--verbose")
    assert got.status == 200
    connected.wait_for_record("--event", "start", gateway=second["id"], correlationId=got.correlation_id)


def test_a_change_of_association_cuts_what_runs_through_the_former_gateway(connected: Stage) -> None:
    third = connected.create_gateway("third")
    download = connected.fetch_slowly(100_000)
    connected.associate(third["id"])
    assert connected.ended(download) != 0
    connected.wait_for_record("--event", "end", reason="association_removed")
    connected.machine.wait_for_goal(third["properties"]["gatewayEndpoint"])
    assert connected.fetch("/").status == 200


def test_disconnecting_removes_the_machine_and_its_rights(connected: Stage) -> None:
    machine = connected.machine
    gateway = connected.operator.ask("gateway", "create", "--name", "last", "--resource-group", "servers")
    connected.associate(gateway["id"])
    machine.wait_for_goal(gateway["properties"]["gatewayEndpoint"])
    connected.disconnect().succeeded()
    assert connected.operator.ask("machine", "list") == []
    assert not (machine.home / "certs/machine.key").exists()
    wait_until(lambda: connected.fetch("/").code != 0, "no request passes any more")
