"""A machine without proxy and without DNS: its firewall lets out the gateway's port 443, and nothing else."""

import time
from collections.abc import Callable, Iterator

import pytest

from worlds.network import Curled
from worlds.network_cloud import ARC_PROXY, CONTROL_NAMES
from worlds.network_services import digest, digest_of_known_bytes
from worlds.network_stage import ALLOWED_TARGETS, FORBIDDEN_TARGET, GROUP, MACHINE, Stage, stage
from worlds.shipped_extensions import put_on_shelf
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def alone() -> Iterator[Stage]:
    with stage(squid=False) as built:
        yield built.onboard(built.create_gateway("edge"))


def straight_to_the_gateway(alone: Stage, path: str, target: str, *, as_machine: bool = True) -> Curled:
    """Use the gateway as a plain HTTPS proxy, as any client can that has the machine's certificate."""
    gateway = alone.operator.ask("gateway", "show", "--name", "edge", "--resource-group", GROUP)
    certs = alone.machine.home / "certs"
    identity = ("--proxy-cert", str(certs / "machine.pem"), "--proxy-key", str(certs / "machine.key"))
    proxy = ("--proxy", f"https://{gateway['properties']['gatewayEndpoint']}:443")
    trust = ("--proxy-cacert", str(alone.control.ca_file), *alone.trust)
    options = (*proxy, *trust, *(identity if as_machine else ()))
    return alone.machine.host.curl("--verbose", *options, f"https://{target}{path}")


def test_requests_pass_although_the_machine_has_no_names(alone: Stage) -> None:
    got = alone.fetch("/bytes/2000000")
    assert digest(got.body) == digest_of_known_bytes(2_000_000), got.errors
    assert alone.name_server.questions_of(alone.machine.host) == []


def test_the_gateways_address_may_stand_in_the_settings_alone(alone: Stage) -> None:
    host = alone.machine.host
    host.forget()
    try:
        alone.machine.restart_arc_proxy()
        assert alone.fetch("/").connect_status == 502  # its name means nothing here any more
        address = f"{alone.gateway.host.address}:443"
        alone.machine.azcmagent("config", "set", "gateway.address", address).succeeded()
        wait_until(lambda: alone.fetch("/").status == 200, "requests pass by the address in the settings")
    finally:
        alone.machine.azcmagent("config", "clear", "gateway.address")
        gateway = alone.operator.ask("gateway", "show", "--name", "edge", "--resource-group", GROUP)
        host.know(gateway["properties"]["gatewayEndpoint"], alone.gateway.host)


def test_nothing_but_the_gateway_is_within_reach(alone: Stage) -> None:
    resolved = f"{ALLOWED_TARGETS[0]}:443:{alone.target.host.address}"
    url = f"https://{ALLOWED_TARGETS[0]}/"
    got = alone.machine.host.curl("--connect-timeout", "2", "--resolve", resolved, *alone.trust, url)
    assert got.code == 28
    assert alone.machine.host.curl(*alone.trust, url).code == 6


def test_the_agent_says_that_it_is_connected_without_an_upstream_proxy(alone: Stage) -> None:
    wait_until(lambda: alone.machine.show()["status"] == "Connected", "the machine is connected")
    shown = alone.machine.show()
    assert shown["httpsProxy"] == "http://localhost:40343"
    assert not shown["upstreamProxy"]


def test_check_reaches_everything(alone: Stage) -> None:
    checked = alone.machine.azcmagent("check")
    assert checked.code == 0, checked.text


def test_a_generic_client_with_the_machines_certificate_gets_through(alone: Stage) -> None:
    got = straight_to_the_gateway(alone, "/bytes/100000", ALLOWED_TARGETS[0])
    assert digest(got.body) == digest_of_known_bytes(100_000), got.errors


def test_a_target_that_no_feature_holds_is_refused_with_reason_and_record(alone: Stage) -> None:
    got = straight_to_the_gateway(alone, "/", FORBIDDEN_TARGET)
    assert got.connect_status == 403
    assert "Arcgate-Reason: target_not_allowed" in got.errors
    record = alone.wait_for_record("--verdict", "refused", target=f"{FORBIDDEN_TARGET}:443")
    assert record["reason"] == "target_not_allowed"
    assert record["correlationId"] in got.errors


def test_without_a_certificate_only_the_control_plane_is_open(alone: Stage) -> None:
    got = straight_to_the_gateway(alone, "/", ALLOWED_TARGETS[0], as_machine=False)
    assert got.connect_status == 403
    assert "Arcgate-Reason: certificate_required" in got.errors
    control = straight_to_the_gateway(alone, "/healthz", CONTROL_NAMES[0], as_machine=False)
    assert control.connect_status == 200


def test_a_scripts_files_come_by_the_gateway_and_its_output_goes_back(alone: Stage) -> None:
    put_on_shelf(alone.control.state / "extensions", "CustomScript", "Monitor")
    alone.machine.start_extension_service()
    uri = f"https://{ALLOWED_TARGETS[0]}/bytes/1000"
    settings = {"fileUris": [uri], "caFile": str(alone.target.authority.file)}
    script = {"commandToExecute": "wc -c <1000; echo $HTTPS_PROXY"}
    alone.create_extension("job", "CustomScript", settings, script)
    wait_until(lambda: "exit code" in alone.extension_status("job")["message"], "the script has run", 60)
    status = alone.extension_status("job")
    assert status["code"] == "0"
    assert f"1000\\n{ARC_PROXY}" in status["message"]


def test_telemetry_arrives_through_arc_proxy_and_gateway(alone: Stage) -> None:
    endpoint, ca_file = f"https://{ALLOWED_TARGETS[1]}", str(alone.target.authority.file)
    alone.create_extension("mon", "Monitor", {"endpoint": endpoint, "interval": 1, "caFile": ca_file}, {})
    wait_until(lambda: "The collector runs" in alone.extension_status("mon")["message"], "the collector runs", 60)
    alone.delete_extension("mon")
    folder = alone.machine.home / "extensions" / "mon"
    wait_until(lambda: not folder.exists(), "the extension is gone, and the collector with it", 60)
    sent = [one for one in alone.target.connections if "POST /v1/metrics" in one["requests"]]
    assert {one["peer"] for one in sent} == {alone.gateway.host.address}
    assert sum(one["received"] for one in sent) > 2000
    record = alone.wait_for_record("--event", "end", target=f"{ALLOWED_TARGETS[1]}:443")
    assert record["machine"].endswith(MACHINE)


def test_revocation_cuts_what_runs_and_refuses_what_comes(alone: Stage, measured: Callable[[str, float], None]) -> None:
    download = alone.fetch_slowly(100_000)
    begin = time.monotonic()
    alone.operator.arcgate("machine", "revoke", "--name", MACHINE, "--resource-group", GROUP, "--yes").succeeded()
    assert alone.ended(download) != 0
    measured("'arcgate machine revoke' typed, the running tunnel cut after", time.monotonic() - begin)
    alone.wait_for_record("--event", "end", reason="certificate_revoked")
    got = straight_to_the_gateway(alone, "/", ALLOWED_TARGETS[0])
    assert got.connect_status == 403
    assert "Arcgate-Reason: certificate_revoked" in got.errors
