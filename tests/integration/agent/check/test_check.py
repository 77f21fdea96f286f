"""`azcmagent check` on loopback: all well, and each hop broken in turn, told apart in words of its own."""

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from arcgate.agent.check.command import Options, run
from arcgate.agent.check.model import Outcome, Report, Row
from arcgate.agent.state import ServiceLock
from arcgate.core.errors import Hop
from arcgate.core.names import parse_target
from arcgate.core.verdicts import Reason, Verdict
from arcgate.net.streams import SocketStream, StreamReset
from arcgate.net.tls import TlsStream, server_context
from worlds.agent_machine import AgentMachine, address, agent_machine, read_all, target
from worlds.authority import Authority
from worlds.fake_gateway import FakeGateway, closed_port, fake_gateway
from worlds.fake_proxy import fake_proxy

pytestmark = pytest.mark.anyio

CONTROL = ("management", "login", "gbl.his", "eastus.his", "packages", "download")
NAMES = tuple(f"{name}.arcgate.test" for name in CONTROL)


@pytest.fixture(scope="module")
def machine_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("machines"))


class ControlPlane:
    """Shakes hands for all control names, with whatever certificate the test gives."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.is_cutting = False

    async def __call__(self, stream: SocketStream) -> None:
        if self.is_cutting:
            stream.abort()
            return
        tls = TlsStream(stream, self.context, server_side=True)
        try:
            await tls.handshake()
        except (ssl.SSLError, StreamReset):
            return
        await read_all(tls)


@pytest.fixture
async def machine(tmp_path: Path, authority: Authority, machine_authority: Authority) -> AsyncIterator[AgentMachine]:
    async with agent_machine(tmp_path, authority) as one:
        one.set_certificate(machine_authority)
        with ServiceLock(one.paths.arcproxyd_lock):
            yield one


@pytest.fixture
async def control(authority: Authority) -> AsyncIterator[tuple[ControlPlane, int]]:
    plane = ControlPlane(server_context(*authority.issue("*.arcgate.test", "*.his.arcgate.test")))
    async with target(plane) as port:
        yield plane, port


@pytest.fixture
async def gateway(
    machine: AgentMachine, authority: Authority, machine_authority: Authority, control: tuple[ControlPlane, int]
) -> AsyncIterator[FakeGateway]:
    async with fake_gateway(authority, machine_authority) as one:
        machine.set_goal(
            "app.example.com",
            port=one.port,
            control=("management.arcgate.test", "login.arcgate.test", "*.his.arcgate.test", *NAMES[4:]),
        )
        one.ports.update({f"{name}:443": control[1] for name in NAMES})
        yield one


async def _check(machine: AgentMachine, *extra: str, include_all: bool = False) -> Report:
    targets = tuple(parse_target(one) for one in extra)
    return await run(machine.paths, {}, Options(extra=targets, include_all=include_all), resolver=machine.resolver)


def _row(report: Report, name: str) -> Row:
    return next(row for row in report.rows if row.endpoint.name == name)


def _only_failure(report: Report) -> tuple[Hop, str]:
    """Return hop and text of the failure that all rows have in common."""
    assert report.exit_code == 26
    hops = {row.failure.hop for row in report.rows if row.failure is not None}
    assert len(hops) == 1, report.lines()
    return hops.pop(), "\n".join(report.lines())


async def test_with_everything_in_order_every_row_is_true(machine: AgentMachine, gateway: FakeGateway) -> None:
    report = await _check(machine)
    text = "\n".join(report.lines())
    assert report.exit_code == 0, text
    assert text.startswith("connection.type : gateway\n")
    assert "false" not in text
    assert [row.endpoint.name for row in report.rows] == ["prefix.gw.arcgate.test", *NAMES]
    management = _row(report, "management.arcgate.test")
    passed = [one.hop for one in management.hops]
    assert passed == [Hop.DNS, Hop.TCP, Hop.TLS, Hop.GATEWAY, Hop.POLICY, Hop.TARGET]
    assert management.tls == "TLS 1.3"
    assert management.gateway == "prefix.gw.arcgate.test"
    assert management.is_private is None
    assert set(gateway.subjects) == {"machine-one"}


async def test_the_enterprise_proxy_is_shown_without_its_password(machine: AgentMachine, gateway: FakeGateway) -> None:
    async with fake_proxy() as proxy:
        machine.set(proxy_url=proxy.url.replace("//", "//user:secret@"))
        report = await _check(machine)
    text = "\n".join(report.lines()) + str(report.to_json())
    assert report.exit_code == 0, text
    assert f"Upstream Proxy  : {proxy.url}" in text
    assert "secret" not in text
    assert all(row.proxy == proxy.url for row in report.rows)


async def test_a_check_before_connecting_takes_the_front_gateway(machine: AgentMachine, gateway: FakeGateway) -> None:
    machine.set_goal()
    machine.set(gateway_address="")
    machine.set_cloud(front="front.gw.arcgate.test:443", address=f"127.0.0.1:{gateway.port}")
    machine.paths.agent_configuration.unlink()
    machine.paths.agent_configuration.with_name("agentconfig.json.bak").unlink(missing_ok=True)
    report = await run(machine.paths, {}, Options(location="eastus", cloud="Test"), resolver=machine.resolver)
    assert report.exit_code == 0, report.lines()
    assert report.gateway_url == "https://front.gw.arcgate.test"
    assert set(gateway.subjects) == {""}


async def test_without_any_gateway_the_endpoints_are_tried_directly(
    machine: AgentMachine, control: tuple[ControlPlane, int]
) -> None:
    machine.resolver.addresses["one.arcgate.test"] = [address("127.0.0.1")]
    report = await _check(machine, f"one.arcgate.test:{control[1]}")
    row = _row(report, f"one.arcgate.test:{control[1]}")
    assert row.is_reachable
    assert row.is_private
    assert _row(report, "management.arcgate.test").failure is not None


async def test_dns_that_is_down_is_named(machine: AgentMachine, gateway: FakeGateway) -> None:
    machine.set(gateway_address="")
    hop, text = _only_failure(await _check(machine))
    assert hop is Hop.DNS
    assert "prefix.gw.arcgate.test could not be resolved" in text
    assert "What to do: Check the name and the DNS servers" in text


async def test_a_gateway_that_is_down_is_a_tcp_failure(machine: AgentMachine, gateway: FakeGateway) -> None:
    await gateway.kill()
    hop, text = _only_failure(await _check(machine))
    assert hop is Hop.TCP
    assert "refused the connection" in text
    assert "false" in text


@pytest.mark.parametrize(
    ("answer", "where", "words"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            Hop.PROXY_AUTHENTICATION,
            "wants authentication",
        ),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Hop.PROXY, "Allow CONNECT to"),
        (b"<html>not a proxy</html>\r\n\r\n", Hop.PROXY, "did not answer CONNECT properly"),
    ],
)
async def test_an_enterprise_proxy_that_refuses_is_named(
    machine: AgentMachine, gateway: FakeGateway, answer: bytes, where: Hop, words: str
) -> None:
    async with fake_proxy(answer) as proxy:
        machine.set(proxy_url=proxy.url)
        hop, text = _only_failure(await _check(machine))
    assert hop is where
    assert words in text


async def test_a_pac_file_is_named_and_each_row_shows_what_it_chose(
    machine: AgentMachine, gateway: FakeGateway, tmp_path: Path
) -> None:
    file = tmp_path / "proxy.pac"
    async with fake_proxy() as proxy:
        for choice, proxied in ((f"PROXY 127.0.0.1:{proxy.port}", True), ("DIRECT", False)):
            file.write_text(f'function FindProxyForURL() {{ return "{choice}" }}')
            machine.set(proxy_pac=str(file))
            report = await _check(machine)
            assert report.exit_code == 0, report.lines()
            assert report.upstream_proxy == f"PAC file {file}"
            row = _row(report, "management.arcgate.test")
            assert row.proxy == (proxy.url if proxied else "")
            assert (Hop.PROXY in {one.hop for one in row.hops}) is proxied
            assert (Hop.TCP in {one.hop for one in row.hops}) is not proxied


async def test_a_pac_file_that_fails_is_a_failure_of_the_proxys_hop(
    machine: AgentMachine, gateway: FakeGateway, tmp_path: Path
) -> None:
    file = tmp_path / "proxy.pac"
    file.write_text("function FindProxyForURL(url, host) { return missing(host) }")
    machine.set(proxy_pac=str(file))
    hop, text = _only_failure(await _check(machine))
    assert hop is Hop.PROXY
    assert "missing" in text


async def test_an_https_proxy_whose_certificate_is_not_trusted_is_told_how_to_be(
    machine: AgentMachine, gateway: FakeGateway, authority: Authority
) -> None:
    stranger = trustme.CA()
    leaf = stranger.issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    async with target(ControlPlane(context)) as port:
        machine.set(proxy_url=f"https://127.0.0.1:{port}")
        hop, text = _only_failure(await _check(machine))
    assert hop is Hop.PROXY
    assert "update-ca-certificates" in text
    assert "exempt this name" not in text


async def test_an_enterprise_proxy_that_is_down_is_named(machine: AgentMachine, gateway: FakeGateway) -> None:
    machine.set(proxy_url=f"http://127.0.0.1:{closed_port()}")
    hop, text = _only_failure(await _check(machine))
    assert hop is Hop.PROXY
    assert "can't be reached" in text


async def test_an_enterprise_proxy_that_hangs_is_given_up(machine: AgentMachine, gateway: FakeGateway) -> None:
    async with fake_proxy() as proxy:
        proxy.is_silent = True
        machine.set(proxy_url=proxy.url, arcproxy_timeout_answer=1)
        hop, text = _only_failure(await _check(machine))
    assert hop is Hop.PROXY
    assert "in 1 s" in text


async def test_interception_of_tls_names_the_issuer(
    machine: AgentMachine, machine_authority: Authority, tmp_path: Path, gateway: FakeGateway
) -> None:
    (tmp_path / "inspector").mkdir()
    inspector = Authority(tmp_path / "inspector", trustme.CA(organization_name="Inspecting Firewall Inc"))
    async with fake_gateway(inspector, machine_authority) as man_in_the_middle:
        machine.set(gateway_address=f"127.0.0.1:{man_in_the_middle.port}")
        hop, text = _only_failure(await _check(machine))
    assert hop is Hop.TLS
    assert "intercepted" in text
    assert "Inspecting Firewall Inc" in text
    assert "have prefix.gw.arcgate.test (this one name) exempted" in text


@pytest.mark.parametrize(("shift", "words"), [(-400, "expired"), (400, "not valid yet")])
async def test_a_certificate_outside_its_time_points_to_the_clock(
    machine: AgentMachine,
    authority: Authority,
    control: tuple[ControlPlane, int],
    gateway: FakeGateway,
    tmp_path: Path,
    shift: int,
    words: str,
) -> None:
    middle = datetime.now(UTC) + timedelta(days=shift)
    odd = authority.ca.issue_cert(
        "management.arcgate.test", not_before=middle - timedelta(days=30), not_after=middle + timedelta(days=30)
    )
    chain, key = tmp_path / "odd.pem", tmp_path / "odd.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in odd.cert_chain_pems))
    key.write_bytes(odd.private_key_pem.bytes())
    async with target(ControlPlane(server_context(chain, key))) as port:
        gateway.ports["management.arcgate.test:443"] = port
        report = await _check(machine)
    failure = _row(report, "management.arcgate.test").failure
    assert failure is not None
    assert failure.hop is Hop.TLS
    assert words in failure.sentence
    assert "set it" in failure.remedy
    assert "the clock says" in failure.cause
    assert _row(report, "login.arcgate.test").is_reachable


async def test_a_gateway_that_refuses_the_certificate_is_named(
    machine: AgentMachine, gateway: FakeGateway, tmp_path: Path
) -> None:
    (tmp_path / "rogue").mkdir()
    machine.set_certificate(Authority(tmp_path / "rogue"))
    hop, text = _only_failure(await _check(machine))
    assert hop is Hop.GATEWAY
    assert "refused this machine's certificate" in text


@pytest.mark.parametrize(
    ("reason", "hop"),
    [
        (Reason.TARGET_NOT_ALLOWED, Hop.POLICY),
        (Reason.ADDRESS_NOT_ALLOWED, Hop.POLICY),
        (Reason.CERTIFICATE_REVOKED, Hop.GATEWAY),
        (Reason.NOT_ASSOCIATED, Hop.GATEWAY),
        (Reason.TARGET_REFUSED, Hop.TARGET),
        (Reason.DNS_FAILED, Hop.TARGET),
    ],
)
async def test_each_refusal_of_the_gateway_is_blamed_on_its_hop(
    machine: AgentMachine, gateway: FakeGateway, reason: Reason, hop: Hop
) -> None:
    del gateway.ports["login.arcgate.test:443"]
    gateway.refusals["login.arcgate.test:443"] = Verdict(reason)
    report = await _check(machine)
    failure = _row(report, "login.arcgate.test").failure
    assert failure is not None
    assert failure.hop is hop
    assert failure.remedy
    assert len([row for row in report.rows if not row.is_reachable]) == 1


async def test_a_target_that_cuts_the_connection_is_a_failure(
    machine: AgentMachine, gateway: FakeGateway, control: tuple[ControlPlane, int]
) -> None:
    control[0].is_cutting = True
    report = await _check(machine)
    assert report.exit_code == 26
    assert _row(report, "prefix.gw.arcgate.test").is_reachable
    assert not _row(report, "management.arcgate.test").is_reachable


async def test_an_endpoint_gets_its_time_and_no_more(machine: AgentMachine, gateway: FakeGateway) -> None:
    gateway.is_silent = True
    machine.set(check_timeout=1)
    report = await _check(machine)
    failure = _row(report, "management.arcgate.test").failure
    assert failure is not None
    assert (failure.hop, failure.code) == (Hop.GATEWAY, "CHECK_TIMEOUT")
    assert "check.timeout" in failure.remedy


async def test_further_endpoints_come_from_settings_flags_and_the_goal(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    machine.set(check_endpoints=["set.example.com"])
    report = await _check(machine, "flag.example.com:8443", include_all=True)
    names = [row.endpoint.name for row in report.rows]
    assert names[-3:] == ["set.example.com", "flag.example.com:8443", "app.example.com"]


async def test_arc_proxy_that_is_not_running_is_said_although_all_can_be_reached(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    machine.paths.arcproxyd_lock.unlink()
    report = await _check(machine)
    assert report.exit_code == 4
    assert "Arc Proxy       : not running" in report.lines()
    assert "start it" in report.lines()[-1]


async def test_who_may_not_read_the_certificate_is_told_what_could_not_be_tried(
    machine: AgentMachine, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = machine.paths.layout.certificates
    machine.paths.machine_certificate.unlink()
    monkeypatch.setattr("arcgate.agent.check.command.os.access", lambda place, _mode: place != certificates)
    report = await _check(machine, "app.example.com:443")
    other = _row(report, "app.example.com")
    assert other.is_reachable is None
    assert [one.outcome for one in other.hops][-1] is Outcome.SKIPPED
    assert _row(report, "management.arcgate.test").is_reachable is True
    assert "sudo" in report.lines()[-1]
    assert report.exit_code == 0


async def test_private_endpoints_are_demanded_of_the_agent_service_alone(
    machine: AgentMachine, gateway: FakeGateway
) -> None:
    machine.resolver.addresses |= {
        "gbl.his.arcgate.test": [address("203.0.113.9")],
        "eastus.his.arcgate.test": [address("10.0.0.9")],
    }
    report = await run(machine.paths, {}, Options(expects_private=True), resolver=machine.resolver)
    failures = {row.endpoint.name: row.failure.code for row in report.rows if row.failure is not None}
    assert failures == {"gbl.his.arcgate.test": "ADDRESS_NOT_PRIVATE"}


async def test_progress_goes_from_row_to_row_up_to_all(machine: AgentMachine, gateway: FakeGateway) -> None:
    percents: list[int] = []
    report = await run(machine.paths, {}, progress=percents.append, resolver=machine.resolver)
    assert percents == sorted(percents)
    assert len(percents) == len(report.rows)
    assert percents[-1] == 100
