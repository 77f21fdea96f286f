"""What `azcmagent show` prints, as whole texts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from arcgate import __version__
from arcgate.agent.local_settings import settings_of
from arcgate.agent.platform import MachineFacts
from arcgate.agent.show import Facts, agent_status, as_document, as_lines, fields_of, select, used_proxy
from arcgate.agent.state import AgentIdentity, HimdsState
from arcgate.core.routing import Goal

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
RESOURCE = (
    "/subscriptions/22222222-2222-4222-8222-222222222222/resourceGroups/servers/providers/"
    "Microsoft.HybridCompute/machines/box"
)
FACTS = Facts(
    now=NOW,
    machine=MachineFacts("linux", "Debian GNU/Linux 12", "6.1.0", "box.corp.example", "4C4C", "QEMU", "Q35"),
    settings=settings_of({"proxy.url": "http://user:secret@proxy.corp.example:3128", "proxy.bypass": ["Arc"]}, {}),
    identity=AgentIdentity(
        "22222222-2222-4222-8222-222222222222",
        "servers",
        "box",
        RESOURCE,
        "11111111-1111-4111-8111-111111111111",
        "eastus",
        "33333333-3333-4333-8333-333333333333",
        "Arcgate",
        "rollout-2026",
    ),
    goal=Goal(7, "/gateways/one", "abc.gw.arcgate.test"),
    himds=HimdsState("Connected", "2026-05-04T11:58:00Z", goal_revision=7, metadata_endpoint="http://localhost:40342"),
    certificate_end=NOW + timedelta(days=80),
    services={"himds": "running", "arcproxy": "running"},
    logfile="/var/opt/azcmagent/log/himds.log",
    arcproxy_port=40343,
)

TEXT = f"""\
Resource Name                            : box
Resource Group Name                      : servers
Resource Namespace                       : Microsoft.HybridCompute
Resource Id                              : {RESOURCE}
Subscription ID                          : 22222222-2222-4222-8222-222222222222
Tenant ID                                : 11111111-1111-4111-8111-111111111111
VM ID                                    : 33333333-3333-4333-8333-333333333333
Correlation ID                           : rollout-2026
VM UUID                                  : 4C4C
Location                                 : eastus
Cloud                                    : Arcgate
Identity Key Store                       : default
Agent Version                            : {__version__}
Agent Logfile                            : /var/opt/azcmagent/log/himds.log
Agent Status                             : Connected
Agent Last Heartbeat                     : 2026-05-04T11:58:00Z
Agent Error Code                         :
Agent Error Details                      :
Agent Error Timestamp                    :
Using HTTPS Proxy                        : http://localhost:40343
Proxy Bypass List                        : Arc
Upstream Proxy                           : http://proxy.corp.example:3128
Gateway URL                              : https://abc.gw.arcgate.test
Connection Type                          : default
Metadata Endpoint                        : http://localhost:40342
Cloud Provider                           : N/A
Cloud Metadata                           :
Manufacturer                             : QEMU
Model                                    : Q35
MSSQL Server Detected                    : false
MySQL Server Detected                    : false
PGSQL Server Detected                    : false
Dependent Service Status
  Agent Service (himds)                  : running
  Azure Arc Proxy (arcproxy)             : running
  Extension Service (extensionservice)   : not installed
  GC Service (gcarcservice)              : not installed
Portal Page                              :
Disabled Features                        :
"""


def test_a_connected_machine_behind_a_gateway_and_a_proxy() -> None:
    assert "\n".join(as_lines(fields_of(FACTS))) + "\n" == TEXT


def test_a_private_link_scope_is_shown_where_there_is_one() -> None:
    assert FACTS.identity is not None
    with_scope = replace(FACTS, identity=replace(FACTS.identity, private_link_scope="/scopes/inside"))
    assert as_document(fields_of(with_scope))["privateLinkScope"] == "/scopes/inside"


def test_the_json_has_the_keys_that_scripts_read() -> None:
    document = as_document(fields_of(FACTS))
    expected = {
        "status": "Connected",
        "lastHeartbeat": "2026-05-04T11:58:00Z",
        "resourceName": "box",
        "resourceGroup": "servers",
        "resourceId": RESOURCE,
        "subscriptionId": "22222222-2222-4222-8222-222222222222",
        "tenantId": "11111111-1111-4111-8111-111111111111",
        "location": "eastus",
        "agentVersion": __version__,
        "httpsProxy": "http://localhost:40343",
        "upstreamProxy": "http://proxy.corp.example:3128",
        "gatewayUrl": "https://abc.gw.arcgate.test",
    }
    assert {key: document[key] for key in expected} == expected
    assert document["proxyBypassList"] == ["Arc"]
    assert document["serviceStatus"]["arcproxy"] == "running"


def test_the_password_of_the_proxy_is_nowhere() -> None:
    assert "secret" not in str(fields_of(FACTS, with_os=True))


@pytest.mark.parametrize(("offset", "words"), [(7200.0, "2 hours slow"), (-90.0, "90 seconds fast")])
def test_a_wrong_clock_is_named_with_size_and_remedy(offset: float, words: str) -> None:
    facts = replace(FACTS, himds=replace(FACTS.himds, server_time_offset=offset))
    assert words in as_document(fields_of(facts))["errorDetails"]
    assert "NTP" in as_document(fields_of(facts))["errorDetails"]


def test_a_clock_that_is_right_enough_is_not_mentioned() -> None:
    facts = replace(FACTS, himds=replace(FACTS.himds, server_time_offset=59.0))
    assert as_document(fields_of(facts))["errorDetails"] == ""


def test_a_machine_that_was_never_connected_shows_its_labels_with_nothing() -> None:
    facts = Facts(NOW, FACTS.machine, settings_of({}, {}))
    document = as_document(fields_of(facts))
    assert document["status"] == "Disconnected"
    assert document["resourceId"] == ""
    assert [one.label for one in fields_of(facts)] == [one.label for one in fields_of(FACTS)]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "Connected"),
        ({"now": NOW + timedelta(minutes=12)}, "Connected"),
        ({"now": NOW + timedelta(minutes=13, seconds=1)}, "Disconnected"),
        ({"himds": HimdsState()}, "Disconnected"),
        ({"himds": replace(FACTS.himds, error_code="MachineNotFound")}, "Disconnected"),
        ({"himds": HimdsState(last_heartbeat="nonsense")}, "Disconnected"),
        ({"identity": None}, "Disconnected"),
        ({"certificate_end": NOW}, "Expired"),
        ({"certificate_end": None}, "Connected"),
    ],
)
def test_the_status_follows_from_heartbeat_and_certificate(changes: dict[str, object], status: str) -> None:
    assert agent_status(replace(FACTS, **changes)) == status  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "http://localhost:40343"),
        ({"arcproxy_port": 41000}, "http://localhost:41000"),
        ({"services": {"arcproxy": "stopped"}}, ""),
        ({"settings": settings_of({"connection.type": "direct"}, {})}, ""),
        ({"settings": settings_of({"connection.type": "direct", "proxy.url": "http://p:1"}, {})}, "http://p:1"),
        ({"goal": Goal()}, "http://proxy.corp.example:3128"),
    ],
)
def test_the_proxy_in_use_is_arc_proxy_only_while_the_gateway_is_used(
    changes: dict[str, object], expected: str
) -> None:
    assert used_proxy(replace(FACTS, **changes)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Agent Status", "agent status", "status"])
def test_a_property_is_found_by_label_or_key_in_any_case(name: str) -> None:
    [found] = select(fields_of(FACTS), name)
    assert found.value == "Connected"


def test_an_unknown_property_is_not_found() -> None:
    assert select(fields_of(FACTS), "Agent") == []
    assert select(fields_of(FACTS), "") == []


def test_problems_with_files_are_part_of_the_error_details() -> None:
    facts = replace(FACTS, problems=("FILE_UNREADABLE: goal.json can't be read.",))
    assert "goal.json" in as_document(fields_of(facts))["errorDetails"]


def test_a_stopped_agent_service_has_no_metadata_endpoint() -> None:
    [shown] = select(fields_of(replace(FACTS, services={"himds": "stopped"})), "metadataEndpoint")
    assert shown.value == ""
