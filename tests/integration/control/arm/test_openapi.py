"""The description of the API, and what the API answers to requests that a fuzzer makes from it."""

import http.client
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from worlds.cloud_process import CloudProcess, cloud_process, exchange

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the fuzzer's own libraries
    import requests
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.core.result import Ok

EXAMPLES = 3
"""Requests for each operation and mode."""
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    with cloud_process(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module")
def document(cloud: CloudProcess) -> dict[str, Any]:
    reply = cloud.request("GET", "/openapi.json")
    assert reply.status == 200
    described: dict[str, Any] = reply.json()
    return described


def test_the_description_names_the_whole_api(cloud: CloudProcess, document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": cloud.base}]
    group = "/subscriptions/{subscription}/resourceGroups/{group}"
    for path, methods in (
        (f"{group}/providers/Microsoft.HybridCompute/gateways/{{name}}", {"get", "put", "patch", "delete"}),
        (f"{group}/providers/Microsoft.HybridCompute/machines/{{name}}", {"get", "put", "patch", "delete"}),
        ("/subscriptions/{subscription}/providers/Arcgate.Network/auditRecords", {"get"}),
    ):
        assert methods == set(document["paths"][path]) - {"parameters"}
    bodies = document["components"]["schemas"]
    assert bodies["GatewayProperties"]["additionalProperties"] is False
    assert bodies["GatewayProperties"]["properties"]["gatewayEndpoint"]["readOnly"] is True


def test_every_operation_of_the_description_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [
        one["operationId"] for path in document["paths"].values() for name, one in path.items() if name != "parameters"
    ]
    assert len(names) == len(set(names))


@pytest.mark.timeout(180)
def test_no_request_that_the_description_allows_or_forbids_makes_the_api_fail(
    cloud: CloudProcess, document: dict[str, Any]
) -> None:
    group = cloud.group()
    real = {"subscription": cloud.first["subscriptionId"], "tenant": cloud.tenant, "group": group}
    asked = 0
    connection = cloud.connection()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        for mode in MODES:
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def ask(case: Any) -> None:
                nonlocal asked
                asked += 1
                _check(cloud, connection, case, real)

            ask()
    connection.close()
    assert asked > 200
    assert "Traceback" not in cloud.log()


def _check(cloud: CloudProcess, connection: http.client.HTTPSConnection, case: Any, real: dict[str, str]) -> None:
    # With ids of nobody, every answer would be the same 404.
    case.path_parameters.update({name: value for name, value in real.items() if name in case.path_parameters})
    sent = case.as_transport_kwargs(base_url=cloud.base)
    request = _prepared(sent)
    reply = exchange(
        connection,
        sent["method"],
        request.path_url,
        headers={**dict(request.headers), "Authorization": f"Bearer {cloud.admin_token()}"},
        body=request.body,
    )
    what = f"{sent['method']} {request.path_url} {request.body!r}: {reply.status} {reply.body!r}"
    assert reply.status < 500, what
    if reply.status >= 400 and sent["method"] != "HEAD":
        error = json.loads(reply.body)["error"]
        assert re.fullmatch(r"[A-Z][A-Za-z]+", error["code"]), what
        assert error["message"], what


def _prepared(sent: dict[str, Any]) -> Any:
    """Return the request as it goes out, for a client of our own that follows no redirects and keeps no cookies."""
    wanted = {"method", "url", "headers", "params", "data", "json", "cookies"}
    return requests.Request(**{name: value for name, value in sent.items() if name in wanted}).prepare()
