"""`arcgate sandbox` from outside: what it tells, what an operator does with it, what it survives."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from worlds.authority import Authority
from worlds.sandbox_process import ARCGATE, SandboxProcess, is_alive, run, sandbox_process
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(150)

GATEWAY = ("--gateway-name", "edge", "--resource-group", "servers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture(scope="module")
def target(authority: Authority) -> Iterator[int]:
    """Port of a TLS server on loopback that says hello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1"))
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(accepted, server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
                    connection.unwrap()
            except OSError:
                accepted.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listening.getsockname()[1])
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.fixture(scope="module")
def sandbox(folder: Path, target: int) -> Iterator[SandboxProcess]:
    with sandbox_process(folder, "--allow", f"127.0.0.1:{target}", "--workers", "2") as running:
        running.log_in()
        yield running


def fetch(sandbox: SandboxProcess, authority: Authority, target: int) -> tuple[int, str]:
    proxy = ("--proxy", f"http://{sandbox.ready['proxy']}", "--noproxy", "", "--max-time", "20")
    ended = run("curl", "-q", "-s", *proxy, "--cacert", str(authority.file), f"https://127.0.0.1:{target}/")
    return ended.code, ended.output


def test_it_tells_all_that_is_needed_to_use_it(sandbox: SandboxProcess) -> None:
    ready = sandbox.ready
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", ready["proxy"])
    assert ready["gateway"]["name"].endswith(".gw.sandbox.arcgate.test")
    assert ready["machine"]["resourceId"].endswith("/machines/sandbox-machine")
    assert ready["arm"].startswith("https://localhost:")
    texts = ("login", "tenantId", "subscriptionId", "resourceGroup", "clientId", "clientSecret")
    assert all(ready[name] for name in texts)
    for path in (ready["ca"], ready["machine"]["certificate"], ready["machine"]["key"]):
        assert Path(path).is_file()
    assert {role: len(pids) for role, pids in ready["pids"].items()} == {
        "control": 1,
        "gateway": 2,
        "himdsd": 1,
        "arcproxyd": 1,
        "supervisor": 1,
    }
    assert ready["pids"]["supervisor"] == [sandbox.process.pid]
    assert stat.S_IMODE(sandbox.folder.stat().st_mode) == 0o700


def test_a_request_passes_all_hops(sandbox: SandboxProcess, authority: Authority, target: int) -> None:
    assert fetch(sandbox, authority, target) == (0, "hello")


def test_a_generic_client_uses_the_gateway_as_an_https_proxy(
    sandbox: SandboxProcess, authority: Authority, target: int
) -> None:
    name, address, machine = (
        sandbox.ready["gateway"]["name"],
        sandbox.ready["gateway"]["address"],
        sandbox.ready["machine"],
    )
    port = address.rpartition(":")[2]
    proxy = ("--proxy", f"https://{name}:{port}", "--noproxy", "", "--proxy-cacert", sandbox.ready["ca"])
    identity = ("--proxy-cert", machine["certificate"], "--proxy-key", machine["key"])
    way = ("--resolve", f"{name}:{port}:127.0.0.1", "--max-time", "20", "--cacert", str(authority.file))
    ended = run("curl", "-q", "-s", *proxy, *identity, *way, f"https://127.0.0.1:{target}/")
    assert (ended.code, ended.output) == (0, "hello")


def test_the_agent_says_that_it_is_connected(sandbox: SandboxProcess) -> None:
    shown = sandbox.azcmagent("show", "-j").json()
    assert shown["status"] == "Connected"
    assert shown["httpsProxy"] == f"http://localhost:{sandbox.ready['proxy'].rpartition(':')[2]}"


def test_a_gateway_lives_from_its_creation_to_its_deletion(sandbox: SandboxProcess) -> None:
    sandbox.arcgate("group", "create", "--name", "servers", "--location", "eastus").json()
    seed = ("--location", "eastus", "--gateway-type", "public", "--allowed-features", "*")
    subscription = ("--subscription", sandbox.ready["subscriptionId"])
    made = sandbox.arcgate("gateway", "create", *GATEWAY, *seed, *subscription, "--tags", "a=1", "b=2").json()
    assert made["properties"]["gatewayEndpoint"].endswith(".gw.sandbox.arcgate.test")
    assert made["tags"] == {"a": "1", "b": "2"}
    assert "edge" in [one["name"] for one in sandbox.arcgate("gateway", "list").json()]
    change = ("--allowed-features", "Monitor", "Defender", "--hand-over", "bulk")
    updated = sandbox.arcgate("gateway", "update", *GATEWAY, *change).json()
    assert updated["properties"]["handOver"] == "bulk"
    assert updated["properties"]["allowedFeatures"] == ["Monitor", "Defender"]
    assert updated["tags"] == {"a": "1", "b": "2"}
    table = sandbox.arcgate("gateway", "list", "-o", "table").output
    assert re.search(r"edge +servers +eastus +\S+ +Monitor Defender +Succeeded", table)
    asked = sandbox.arcgate("gateway", "delete", *GATEWAY)
    assert (asked.code, "--yes" in asked.errors) == (2, True)
    assert sandbox.arcgate("gateway", "delete", *GATEWAY, "--yes").code == 0
    gone = sandbox.arcgate("gateway", "show", *GATEWAY)
    assert gone.code == 3
    assert gone.errors.startswith("ERROR: (ResourceNotFound) ")


def test_a_gateway_in_use_is_deleted_by_force_alone(sandbox: SandboxProcess) -> None:
    refused = sandbox.arcgate("gateway", "delete", "-n", "sandbox", "-g", "sandbox", "--yes")
    assert refused.code == 1
    assert "sandbox-machine" in refused.errors


def test_a_machine_is_detached_and_associated_and_the_agent_follows(
    sandbox: SandboxProcess, authority: Authority, target: int
) -> None:
    seed = ("--base-provider", "Microsoft.HybridCompute", "--base-resource-type", "machines")
    machine = (*seed, "--base-resource-name", "sandbox-machine", "--settings-resource-name", "default")
    update = ("setting", "update", "--resource-group", "sandbox", *machine, "--gateway-resource-id")
    detached = sandbox.arcgate(*update, "null").json()
    assert not detached["properties"]["gatewayProperties"].get("gatewayResourceId")
    wait_until(lambda: not sandbox.azcmagent("show", "-j").json()["gatewayUrl"], "the agent knows that it is detached")
    friendly = ("setting", "update", "-g", "sandbox", "--machine", "sandbox-machine", "--gateway-resource-id")
    sandbox.arcgate(*friendly, sandbox.ready["gateway"]["resourceId"]).json()
    shown = sandbox.arcgate("setting", "show", "-g", "sandbox", "--machine", "sandbox-machine").json()
    assert shown["properties"]["gatewayProperties"]["gatewayResourceId"] == sandbox.ready["gateway"]["resourceId"]
    wait_until(lambda: bool(sandbox.azcmagent("show", "-j").json()["gatewayUrl"]), "the agent has its gateway again")
    wait_until(lambda: fetch(sandbox, authority, target)[0] == 0, "requests pass again")


@pytest.mark.parametrize(
    "gateway", ["sandbox", "/subscriptions/x", "/subscriptions/{s}/resourceGroups/g/providers/a/b/c"]
)
def test_what_is_no_gateways_id_is_refused_before_anything_is_sent(sandbox: SandboxProcess, gateway: str) -> None:
    given = gateway.replace("{s}", sandbox.ready["subscriptionId"])
    options = ("--machine", "sandbox-machine", "--gateway-resource-id", given)
    ended = sandbox.arcgate("setting", "update", "-g", "sandbox", *options)
    assert ended.code == 1
    assert "RESOURCE_ID_INVALID" in ended.errors


def test_endpoint_sets_are_made_changed_and_deleted(sandbox: SandboxProcess) -> None:
    one = ("-n", "own", "-g", "sandbox")
    made = sandbox.arcgate(
        "endpoint-set", "create", *one, "--endpoints", "a.example", "b.example:444,10.0.0.0/8:*"
    ).json()
    assert made["properties"]["endpoints"] == ["a.example", "b.example:444", "10.0.0.0/8:*"]
    changed = sandbox.arcgate("endpoint-set", "update", *one, "--allow-private").json()
    assert changed["properties"]["allowPrivate"] is True
    assert changed["properties"]["endpoints"] == made["properties"]["endpoints"]
    assert "own" in [row["name"] for row in sandbox.arcgate("endpoint-set", "list").json()]
    wrong = sandbox.arcgate("endpoint-set", "create", "-n", "bad", "-g", "sandbox", "--endpoints", "*.com")
    assert (wrong.code, "PATTERN_INVALID" in wrong.errors) == (1, True)
    assert sandbox.arcgate("endpoint-set", "delete", *one, "-y").code == 0
    assert sandbox.arcgate("endpoint-set", "show", *one).code == 3


def test_the_audit_knows_what_was_fetched(sandbox: SandboxProcess, authority: Authority, target: int) -> None:
    assert fetch(sandbox, authority, target)[0] == 0
    filters = (
        "--target",
        f"127.0.0.1:{target}",
        "--machine",
        "sandbox-machine",
        "--verdict",
        "allowed",
        "--since",
        "1h",
    )

    def ends() -> list[dict[str, object]]:
        records = sandbox.arcgate("audit", *filters, "--event", "end", "-o", "json").json()
        assert isinstance(records, list)
        return records

    wait_until(lambda: bool(ends()), "the end of the tunnel is recorded")
    [record, *_] = ends()
    assert record["reason"] == "completed"
    lines = sandbox.arcgate("audit", *filters).output.splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == ["allowed"] * len(lines)
    one = sandbox.arcgate("audit", "--correlation-id", str(record["correlationId"]), "-o", "csv").output
    assert len(one.splitlines()) == 3
    assert "correlationId" in one.splitlines()[0]
    table = sandbox.arcgate("audit", "--top", "1", "-o", "table").output.splitlines()
    assert len(table) == 2
    assert sandbox.arcgate("audit", "--open", "--target", "nowhere.example", "-o", "json").json() == []


def test_a_device_code_is_approved_by_the_command_that_the_sandbox_told(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    where = ("--endpoint", sandbox.ready["arm"], "--ca", sandbox.ready["ca"])
    environment = {**os.environ, "ARCGATE_CONFIG_DIR": str(tmp_path / "device")}
    with subprocess.Popen(
        [ARCGATE, "login", "--use-device-code", *where],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as login:
        assert login.stderr is not None
        message = login.stderr.readline()
        found = re.search(r"[A-Z]{3}-[A-Z]{3}-[A-Z]{3}", message)
        assert found, message
        approved = sandbox.shell(sandbox.ready["approveDeviceCode"], USER_CODE=found[0])
        assert (approved.code, approved.output) == (0, "Approved.\n"), approved
        login.communicate(timeout=30)
        assert login.returncode == 0
    account = run(ARCGATE, "account", "show", ARCGATE_CONFIG_DIR=str(tmp_path / "device")).json()
    assert account["user"] == {"name": "admin@sandbox.arcgate.test", "type": "user"}
    expired_tokens_are_renewed(tmp_path / "device")


def expired_tokens_are_renewed(profile: Path) -> None:
    file = profile / "tokens.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({**before, "access_token": "expired", "expires_at": 0}))
    assert run(ARCGATE, "gateway", "list", ARCGATE_CONFIG_DIR=str(profile)).code == 0
    after = json.loads(file.read_text())
    assert after["access_token"] != "expired"
    assert after["refresh_token"] != before["refresh_token"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_that_the_server_does_not_take_is_renewed(sandbox: SandboxProcess) -> None:
    file = sandbox.profile / "tokens.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps({**before, "access_token": "a.b.c"}))
    assert sandbox.arcgate("gateway", "list").code == 0
    assert json.loads(file.read_text())["access_token"] != "a.b.c"


def test_an_unknown_device_code_can_not_be_approved(sandbox: SandboxProcess) -> None:
    assert sandbox.arcgate("device", "approve", "BCD-BCD-BCD").code in {1, 3}
    assert sandbox.arcgate("device", "approve", "../../x").code == 1


def test_accounts_are_shown_chosen_and_left(sandbox: SandboxProcess, tmp_path: Path) -> None:
    account = sandbox.arcgate("account", "show").json()
    assert account["id"] == sandbox.ready["subscriptionId"]
    assert account["user"]["type"] == "servicePrincipal"
    [listed] = sandbox.arcgate("account", "list").json()
    assert listed["isDefault"] is True
    assert sandbox.arcgate("account", "set", "--subscription", listed["displayName"]).code == 0
    assert sandbox.arcgate("account", "set", "--subscription", "nobody's").code == 1
    token = sandbox.arcgate("account", "get-access-token").json()
    assert token["tokenType"] == "Bearer"
    assert token["tenant"] == sandbox.ready["tenantId"]
    assert run(ARCGATE, "account", "show", ARCGATE_CONFIG_DIR=str(tmp_path)).code == 1


def test_service_principals_are_made_listed_and_deleted(sandbox: SandboxProcess) -> None:
    made = sandbox.arcgate("service-principal", "create", "--name", "onboarding").json()
    assert made["clientSecret"]
    listed = {row["clientId"]: row for row in sandbox.arcgate("service-principal", "list").json()}
    assert "clientSecret" not in listed[made["clientId"]]
    assert sandbox.arcgate("service-principal", "delete", "--id", made["clientId"], "-y").code == 0
    left = sandbox.arcgate("service-principal", "list").json()
    assert made["clientId"] not in [row["clientId"] for row in left]


def test_a_wrong_secret_does_not_log_in(sandbox: SandboxProcess, tmp_path: Path) -> None:
    who = ("--service-principal", "-u", sandbox.ready["clientId"], "--tenant", sandbox.ready["tenantId"])
    where = ("--endpoint", sandbox.ready["arm"], "--ca", sandbox.ready["ca"])
    environment = {"ARCGATE_CONFIG_DIR": str(tmp_path / "wrong"), "ARCGATE_CLIENT_SECRET": "wrong"}
    ended = run(ARCGATE, "login", *who, *where, **environment)
    assert ended.code == 1
    assert ended.errors.startswith("ERROR: (invalid_client) ")
    assert not (tmp_path / "wrong" / "tokens.json").exists()


def test_a_server_that_is_not_trusted_gets_no_secret(sandbox: SandboxProcess, tmp_path: Path) -> None:
    who = ("--service-principal", "-u", "x", "--tenant", sandbox.ready["tenantId"])
    environment = {"ARCGATE_CONFIG_DIR": str(tmp_path / "wrong"), "ARCGATE_CLIENT_SECRET": "secret"}
    ended = run(ARCGATE, "login", *who, "--endpoint", sandbox.ready["arm"], **environment)
    assert ended.code == 1
    assert "TLS_CERTIFICATE_REFUSED" in ended.errors


@pytest.mark.parametrize("role", ["gateway", "arcproxyd", "control", "himdsd"])
def test_whatever_is_killed_comes_back_by_itself(
    sandbox: SandboxProcess, authority: Authority, target: int, role: str
) -> None:
    for pid in sandbox.ready["pids"][role]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: fetch(sandbox, authority, target) == (0, "hello"), "requests pass again")
    wait_until(lambda: sandbox.arcgate("gateway", "list").code == 0, "the control plane answers again")
    service = "himdsd" if role == "himdsd" else "arcproxyd"
    wait_until(lambda: sandbox.azcmagent("show", "-j").json()["status"] == "Connected", f"{service} is at work again")


def test_sigterm_removes_everything(tmp_path: Path) -> None:
    with sandbox_process(tmp_path) as running:
        folder, pids = running.folder, running.pids()
        assert all(is_alive(pid) for pid in pids)
        assert running.stop() == 0
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "all processes have ended", 5)
        assert not folder.exists()


def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [ARCGATE, "sandbox", "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "starting" in process.stderr.readline()
        wait_until(lambda: any(tmp_path.glob("arcgate-sandbox-*/server/run/*")), "the server is being started")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
        assert (process.returncode, output) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else has it, or it is not for us: it can't be had either way
            stack.enter_context(socket.create_server(("127.0.0.1", 443)))
        ended = run(ARCGATE, "sandbox", "--ports", "default", TMPDIR=str(tmp_path))
    assert ended.code == 1
    assert "LISTEN_FAILED" in ended.errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--allow", "example.com"),
        ("--allow", "0x7f.1:443"),
        ("--allow-network", "0.0.0.0/0"),
        ("--allow-network", "10.0.0.1/8"),
        ("--enterprise-proxy", "ftp://x"),
        ("--dns", "dns.example"),
        ("--workers", "0"),
        ("--ports", "some"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(tmp_path: Path, options: tuple[str, str]) -> None:
    ended = run(ARCGATE, "sandbox", *options, TMPDIR=str(tmp_path))
    assert ended.code in {1, 2}
    assert "Traceback" not in ended.errors
    assert "ERROR: " in ended.errors
    assert list(tmp_path.iterdir()) == []


def test_once_all_promises_hold(tmp_path: Path) -> None:
    ended = run(ARCGATE, "sandbox", "--once", TMPDIR=str(tmp_path))
    assert ended.code == 0, ended.output + ended.errors
    assert "Everything held." in ended.output
    assert "What to type next" in ended.output
    assert list(tmp_path.iterdir()) == []
