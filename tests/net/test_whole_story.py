"""The whole story of the original's documents: create, onboard, verify, use, clean up; with Squid and firewalls."""

import re
from collections.abc import Iterator

import pytest

from worlds.network_cloud import CONTROL_NAMES
from worlds.network_services import SQUID_PORT, digest, digest_of_known_bytes
from worlds.network_stage import ALLOWED_TARGETS, FORBIDDEN_TARGET, GROUP, MACHINE, Stage, stage
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def behind_squid() -> Iterator[Stage]:
    with stage() as built:
        yield built


def test_a_server_behind_squid_is_onboarded_used_verified_and_cleaned_up(behind_squid: Stage) -> None:
    story = behind_squid
    gateway = create_the_gateway(story)
    only_its_name_is_within_reach(story, gateway)
    onboard_the_machine(story, gateway)
    show_says_that_it_is_connected(story, gateway)
    check_reaches_everything(story, gateway)
    requests_arrive_whole_and_are_accounted_for(story)
    without_the_gateway_the_same_request_fails(story)
    clean_up(story)


def create_the_gateway(story: Stage) -> str:
    """Step 2; the one who creates it has logged in with a device code that another login approved."""
    colleague = type(story.operator)(story.operator.host, "colleague")
    code = colleague.begin_login(story.control.ca_file)
    story.operator.arcgate("device", "approve", code).succeeded()
    colleague.finish_login()
    story.operator = colleague
    story.operator.arcgate(
        "account", "set", "--subscription", story.control.initial_admin["subscriptionId"]
    ).succeeded()
    created = story.create_gateway("edge")
    assert created["properties"]["provisioningState"] == "Succeeded"
    name = created["properties"]["gatewayEndpoint"]
    listed = story.operator.ask("gateway", "list")
    assert [one["properties"]["gatewayEndpoint"] for one in listed] == [name]
    return str(name)


def only_its_name_is_within_reach(story: Stage, name: str) -> None:
    """Step 3: the firewall lets out Squid alone, and Squid lets through the gateway's name alone."""
    assert story.squid is not None
    host, ca = story.machine.host, ("--cacert", str(story.control.ca_file))
    assert host.curl(*ca, "--proxy", story.squid.url, f"https://{name}/healthz").status == 200
    assert host.curl(*ca, "--proxy", story.squid.url, "https://management.arcgate.example/").connect_status == 403
    direct = f"{name}:443:{story.gateway.host.address}:443"
    assert host.curl(*ca, "--connect-timeout", "2", "--connect-to", direct, f"https://{name}/healthz").code == 28


def onboard_the_machine(story: Stage, name: str) -> None:
    """Step 4."""
    gateway = story.operator.ask("gateway", "show", "--name", "edge", "--resource-group", GROUP)
    installed = story.install(name).succeeded()
    assert "azcmagent connect" in installed.output
    connected = story.connect(
        "--cloud", "Arcgate", "--correlation-id", "a-correlation-id", "--gateway-id", gateway["id"]
    )
    assert connected.code == 0, connected.text
    story.machine.azcmagent("config", "set", "connection.type", "gateway").succeeded()
    story.machine.start_services().wait_for_goal(name)


def show_says_that_it_is_connected(story: Stage, name: str) -> None:
    """Step 5, in the words of the original."""
    assert story.squid is not None
    wait_until(lambda: story.machine.show()["status"] == "Connected", "the machine is connected")
    text = story.machine.azcmagent("show").succeeded().output
    for label, value in (
        ("Agent Status", "Connected"),
        ("Using HTTPS Proxy", "http://localhost:40343"),
        ("Upstream Proxy", f"http://{story.squid.host.address}:{SQUID_PORT}"),
        ("Gateway URL", name),
        ("Resource Name", MACHINE),
        (r" *Azure Arc Proxy \(arcproxy\)", "running"),
        (r" *Agent Service \(himds\)", "running"),
    ):
        line = re.search(rf"^{label}\s+: (.*)$", text, re.MULTILINE)
        assert line, f"{label} is missing:\n{text}"
        assert value in line[1]
    shown = story.machine.show()
    assert shown["httpsProxy"] == "http://localhost:40343"
    assert shown["upstreamProxy"].rstrip("/") == f"http://{story.squid.host.address}:{SQUID_PORT}"
    assert name in shown["gatewayUrl"]


def check_reaches_everything(story: Stage, name: str) -> None:
    """Step 5, `azcmagent check`."""
    checked = story.machine.azcmagent("check")
    assert checked.code == 0, checked.text
    assert re.search(r"connection\.type\s*:?\s*gateway", checked.output), checked.output
    rows = [[cell.strip() for cell in line.split("|")] for line in checked.output.splitlines() if "|" in line]
    reachable = rows[0].index("REACHABLE")
    assert [row[reachable] for row in rows[1:]] == ["true"] * len(rows[1:])
    assert {row[0] for row in rows} >= {*CONTROL_NAMES, name}


def requests_arrive_whole_and_are_accounted_for(story: Stage) -> None:
    """What a client fetched is what the target sent, and the audit rows have the bytes that the target counted."""
    for path, position in (("/bytes/5000000", 0), ("/bytes/0", 1)):
        got = story.fetch(path)
        assert digest(got.body) == digest_of_known_bytes(int(path.rpartition("/")[2])), got.errors
        counted = story.target.ended_connection(position)
        assert counted["peer"] == story.gateway.host.address
        story.wait_for_record(
            "--event", "end", bytesUp=counted["received"], bytesDown=counted["sent"], reason="completed"
        )
    # What isn't the gateway's goes the enterprise's own way, and there the enterprise decides.
    assert story.squid is not None
    assert story.fetch("/", target=FORBIDDEN_TARGET).connect_status == 403
    assert f"403 CONNECT {FORBIDDEN_TARGET}:443" in story.squid.requests
    assert len(story.target.connections) == 2


def without_the_gateway_the_same_request_fails(story: Stage) -> None:
    """Neither straight, nor through Squid, nor with the agent's connection set to direct."""
    assert story.squid is not None
    target, host = f"https://{ALLOWED_TARGETS[0]}/", story.machine.host
    resolved = f"{ALLOWED_TARGETS[0]}:443:{story.target.host.address}"
    straight = host.curl("--connect-timeout", "2", "--resolve", resolved, *story.trust, target)
    assert straight.code == 28
    assert host.curl("--proxy", story.squid.url, *story.trust, target).connect_status == 403
    story.machine.azcmagent("config", "set", "connection.type", "direct").succeeded()
    wait_until(lambda: story.fetch("/").code != 0, "a direct connection fails")
    story.machine.azcmagent("config", "set", "connection.type", "gateway").succeeded()
    wait_until(lambda: story.fetch("/").code == 0, "the gateway works again")


def clean_up(story: Stage) -> None:
    """The clean-up of the original's documents: direct, detach, delete; and the machine's own."""
    story.machine.azcmagent("config", "set", "connection.type", "direct").succeeded()
    delete = ("gateway", "delete", "--name", "edge", "--resource-group", GROUP, "--yes")
    refused = story.operator.arcgate(*delete)
    assert refused.code != 0
    assert "machine" in refused.errors
    story.associate("null")
    story.operator.arcgate(*delete).succeeded()
    assert story.operator.ask("gateway", "list") == []
