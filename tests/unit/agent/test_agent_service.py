"""Requests to the agent service, with a server of the test's own words."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from arcgate.agent.agent_service import AgentService, discover
from arcgate.agent.errors import AzcmError
from arcgate.agent.http import ServiceRefusal
from arcgate.agent.machine_key import MachineKey
from arcgate.core.errors import InputError
from arcgate.net.http_client import Answer, HttpClient

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SKEWED = {"error": {"code": "ClockSkew", "message": "No.", "serverTime": "2026-05-04T14:00:00Z"}}


@dataclass
class Server:
    """Answers with these, one after another."""

    answers: list[tuple[int, Any]]
    requests: list[str] = field(default_factory=list)

    async def request_json(self, method: str, url: str, *_: Any, **__: Any) -> Answer:
        self.requests.append(f"{method} {url}")
        status, document = self.answers.pop(0)
        return Answer(status, {}, b"" if document is None else json.dumps(document).encode())


@pytest.fixture(scope="module")
def key() -> MachineKey:
    return MachineKey.generate()


def _service(key: MachineKey, *answers: tuple[int, Any]) -> tuple[AgentService, Server]:
    server = Server(list(answers))
    return AgentService(cast("HttpClient", server), "https://his", "machine", key, lambda: NOW), server


async def test_a_skewed_clock_is_corrected_and_the_request_repeated_once(key: MachineKey) -> None:
    service, server = _service(key, (409, SKEWED), (200, {"interval": 60, "goalRevision": 4}))
    answer = await service.heartbeat({})
    assert (answer.interval, answer.goal_revision) == (60, 4)
    assert service.clock_offset == timedelta(hours=2)
    assert len(server.requests) == 2


async def test_a_server_that_insists_on_skew_is_not_asked_for_ever(key: MachineKey) -> None:
    service, server = _service(key, (409, SKEWED), (409, SKEWED))
    with pytest.raises(ServiceRefusal) as caught:
        await service.heartbeat({})
    assert caught.value.code == "ClockSkew"
    assert len(server.requests) == 2


@pytest.mark.parametrize("document", [None, [], {}, {"interval": "x", "goalRevision": None}, {"interval": True}])
async def test_an_odd_heartbeat_answer_means_the_usual_interval(key: MachineKey, document: Any) -> None:
    service, _ = _service(key, (200, document))
    assert (await service.heartbeat({})).interval == 300


async def test_no_news_of_the_goal_is_none(key: MachineKey) -> None:
    service, server = _service(key, (204, None))
    assert await service.goal(7, 25) is None
    assert server.requests == ["GET https://his/machine/machine/goal?after=7&wait=25"]


@pytest.mark.parametrize("document", [None, [], {"revision": 1}, {"revision": 1, "gateway": 5, "allowed": []}])
async def test_an_unreadable_goal_is_an_input_error(key: MachineKey, document: Any) -> None:
    service, _ = _service(key, (200, document))
    with pytest.raises(InputError) as caught:
        await service.goal(0)
    assert caught.value.code == "GOAL_INVALID"


@pytest.mark.parametrize("document", [{}, {"certificate": 5}, {"certificate": "x", "chain": []}])
async def test_an_answer_without_a_certificate_is_azcm0081(key: MachineKey, document: Any) -> None:
    service, _ = _service(key, (200, document))
    with pytest.raises(AzcmError) as caught:
        await service.certificate()
    assert caught.value.number == 81


@pytest.mark.parametrize("endpoint", [None, 5, "http://his", "javascript:x", "https://u:p@ h"])
async def test_an_endpoint_that_is_no_https_url_is_azcm0081(endpoint: Any) -> None:
    server = Server([(200, {"endpoint": endpoint})])
    with pytest.raises(AzcmError) as caught:
        await discover(cast("HttpClient", server), "https://gbl.his", "eastus")
    assert caught.value.number == 81


async def test_the_location_is_quoted() -> None:
    server = Server([(200, {"endpoint": "https://eastus.his/"})])
    assert await discover(cast("HttpClient", server), "https://gbl.his", "a&b/c") == "https://eastus.his"
    assert "location=a%26b%2Fc&" in server.requests[0]


async def test_a_token_is_kept_out_of_logs(key: MachineKey) -> None:
    service, server = _service(key, (200, {"access_token": "a.b.c", "expires_on": 1_800_000_000}))
    token = await service.token("https://a.example/")
    assert (token.access_token, token.expires_on, token.resource) == ("a.b.c", 1_800_000_000, "https://a.example/")
    assert "a.b.c" not in repr(token)
    assert server.requests == ["POST https://his/machine/machine/token"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"access_token": "a.b.c"},
        {"access_token": 7, "expires_on": 1_800_000_000},
        {"access_token": "a b", "expires_on": 1_800_000_000},
        {"access_token": "a.b.c", "expires_on": "soon"},
        {"access_token": "a.b.c", "expires_on": True},
        None,
    ],
)
async def test_an_answer_without_a_token_is_said_to_be_one(key: MachineKey, document: Any) -> None:
    service, _ = _service(key, (200, document))
    with pytest.raises(InputError) as caught:
        await service.token("https://a.example/")
    assert caught.value.code == "TOKEN_INVALID"
