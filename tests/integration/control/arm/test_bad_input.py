"""What no client should send, sent to the real process: each is refused in ARM's form, and nothing changes.

The raw requests of the table go out as they stand; the names in front are those of the test plan.
"""

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from worlds.cloud_process import CloudProcess, HttpReply, cloud_process

V = "?api-version=2026-07-15"
GUID = "11111111-2222-3333-4444-555555555555"
MANY_TAGS = {f"tag{number}": "x" for number in range(51)}
LONGEST_ANSWER = 64 * 1024


@dataclass(frozen=True)
class Place:
    """The resources that every bad request leaves alone."""

    cloud: CloudProcess
    group: str
    gateway: str
    machine: str
    foreign: str
    """Token of a principal without any role near."""

    def state(self) -> list[Any]:
        """All that could have changed."""
        paths = (
            ("resources", "2024-11-01"),
            (self.gateway, "2026-07-15"),
            (self.machine, "2026-07-15"),
            (f"{self.machine}/providers/Microsoft.HybridCompute/settings/default", "2026-07-15"),
            ("providers/Microsoft.Authorization/roleAssignments", "2022-04-01"),
        )
        return [self.cloud.arm("GET", path, version=version).json() for path, version in paths]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with cloud_process(tmp_path_factory.mktemp("cloud"), control={"gateways_per_subscription": 1}) as cloud:
        group = cloud.group()
        at = f"{cloud.subscription}/resourceGroups/{group}/providers/Microsoft.HybridCompute"
        gateway, machine = f"{at}/gateways/gw", f"{at}/machines/server"
        assert cloud.arm("PUT", gateway, {"location": "eastus"}).status == 201
        body = {"location": "eastus", "properties": {"vmId": GUID}}
        assert cloud.arm("PUT", machine, body).status == 200
        made = cloud.principal("Reader", f"{cloud.subscription}/resourceGroups/{group}-other")
        foreign = cloud.client_token(made["clientId"], made["clientSecret"])
        yield Place(cloud, group, gateway, machine, foreign)
        assert "Traceback" not in cloud.log()


@pytest.fixture(autouse=True)
def nothing_changes(place: Place) -> Iterator[None]:
    before = place.state()
    yield
    assert place.state() == before


def _send(place: Place, method: str, target: str, body: bytes | None = None, **headers: str) -> HttpReply:
    fields = {"Authorization": f"Bearer {place.cloud.admin_token()}"}
    if body is not None:
        fields["Content-Type"] = "application/json"
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return place.cloud.request(method, target, headers=fields, body=body)


def _require(reply: HttpReply, status: int, code: str = "") -> None:
    """Require ARM's error form."""
    error = json.loads(reply.body)["error"]
    assert reply.status == status, (reply.status, error)
    assert error["message"]
    assert code in ("", error["code"]), error


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "MissingApiVersionParameter"),
        ("?api-version=", "MissingApiVersionParameter"),
        ("?api-version=2024-13-45", "InvalidApiVersionParameter"),
        ("?api-version=2024-07-10&api-version=2026-07-15", "InvalidApiVersionParameter"),
        ("?api-version=2024-07-10-preview'--", "InvalidApiVersionParameter"),
        ("?api-version=" + "2" * 7000, "InvalidApiVersionParameter"),
        ("?api-version=2026-07-15%0d%0aX:1", "InvalidApiVersionParameter"),
        ("?api-version=%D9%A2026-07-15", "InvalidApiVersionParameter"),
    ],
)
def test_b1_api_versions(place: Place, query: str, code: str) -> None:
    _require(_send(place, "GET", f"{place.gateway}{query}"), 400, code)
    _require(
        _send(place, "PUT", f"{place.gateway}{query}", b'{"location":"eastus","api-version":"2026-07-15"}'), 400, code
    )


def test_b3_a_date_that_nobody_published_works(place: Place) -> None:
    assert _send(place, "GET", f"{place.gateway}?api-version=2099-01-01").status == 200


def test_b8_a_query_that_is_too_long(place: Place) -> None:
    _require(_send(place, "GET", f"{place.gateway}?api-version={'2' * 10_000}"), 414)


@pytest.mark.parametrize(
    ("subscription", "status", "code"),
    [
        ("not-a-guid", 400, "InvalidSubscriptionId"),
        (f"{{{GUID}}}", 400, ""),
        (f"%7B{GUID}%7D", 400, "InvalidSubscriptionId"),
        (f"{GUID}0", 400, "InvalidSubscriptionId"),
        (GUID, 404, "SubscriptionNotFound"),
        ("..", 400, ""),
        ("%2e%2e", 400, "InvalidRequestUri"),
    ],
)
def test_b9_subscription_ids(place: Place, subscription: str, status: int, code: str) -> None:
    for method, body in (("GET", None), ("PUT", b'{"location":"eastus"}'), ("DELETE", None)):
        target = f"/subscriptions/{subscription}/resourceGroups/g/providers/Microsoft.HybridCompute/gateways/x{V}"
        _require(_send(place, method, target, body), status, code)


def test_b11_upper_case_works(place: Place) -> None:
    assert _send(place, "GET", f"{place.gateway.upper()}{V}").status == 200


@pytest.mark.parametrize(
    "name",
    [
        *(
            ".",
            "..",
            "a%2Fb",
            "a%2fb",
            "x" * 261,
            "x" * 91,
            "dot.",
            ".dot",
            "blank%20",
            "%F0%9F%98%80",
            "a%00",
            "%c0%ae",
        ),
        *("%3Cimg%20src=x%20onerror=alert(1)%3E", "a%5Cb", "a;jsessionid=1", "%C3%A9", "a%0d%0ab", "a:b", "a%25b", "%"),
    ],
)
@pytest.mark.parametrize("kind", ["gateways", "machines"])
def test_b17_names(place: Place, kind: str, name: str) -> None:
    target = f"{place.gateway.rpartition('/gateways/')[0]}/{kind}/{name}{V}"
    reply = _send(place, "PUT", target, b'{"location":"eastus"}')
    assert reply.status in (400, 404), reply.body
    if reply.headers["content-type"] == "application/json":
        assert json.loads(reply.body)["error"]["code"]


def test_b17_an_empty_name_is_the_list_and_takes_no_put(place: Place) -> None:
    _require(_send(place, "PUT", f"{place.gateway.removesuffix('gw')}{V}", b"{}"), 405, "MethodNotAllowed")


@pytest.mark.parametrize("child", ["/unknown", "/providers/No.Such/things/x", "/extensions/a/b"])
def test_b34_unknown_children(place: Place, child: str) -> None:
    _require(_send(place, "GET", f"{place.machine}{child}{V}"), 404)


def test_b27_doubled_slashes_and_other_cases_of_the_provider_work(place: Place) -> None:
    spelled = place.gateway.replace("/gateways", "//gateways").replace(
        "Microsoft.HybridCompute", "microsoft.HYBRIDcompute"
    )
    assert _send(place, "GET", f"{spelled}{V}").status == 200


DEEP = b"[" * 100_000
BODIES = {
    "B35 empty": b"",
    "B36 null": b"null",
    "B37 list": b"[]",
    "B38 text": b'"x"',
    "B39 cut": b'{"location": "eastus"',
    "B40 two": b'{"location":"eastus"}{"location":"eastus"}',
    "B41 BOM": b'\xef\xbb\xbf{"location":"eastus"}',
    "B42 UTF-16": '{"location":"eastus"}'.encode("utf-16"),
    "B43 NaN": b'{"location":"eastus","tags":{"a":NaN}}',
    "B43 Infinity": b'{"location":"eastus","tags":{"a":-Infinity}}',
    "B44 twice": b'{"location":"eastus","location":"westeurope"}',
    "B45 deep": DEEP,
    "B45 deep in properties": b'{"location":"eastus","properties":' + DEEP,
    "B47 many keys": b"{" + b",".join(b'"k%d":1' % number for number in range(200_000)) + b"}",
    "B51 digits": b'{"location":' + b"9" * 5000 + b"}",
    "B52 surrogate": b'{"location":"eastus","tags":{"a":"\\ud800"}}',
    "B53 location 5": b'{"location":5}',
    "B55 elsewhere": b'{"location":"westeurope"}',
    "B55 nowhere": b'{"location":"atlantis"}',
    "B56 tags list": b'{"location":"eastus","tags":["a"]}',
    "B57 tag object": b'{"location":"eastus","tags":{"a":{}}}',
    "B58 tags": json.dumps({"location": "eastus", "tags": MANY_TAGS}).encode(),
    "B59 tag name": json.dumps({"location": "eastus", "tags": {"x" * 513: "y"}}).encode(),
    "B59 tag value": json.dumps({"location": "eastus", "tags": {"x": "y" * 257}}).encode(),
    "B60 star text": b'{"location":"eastus","properties":{"allowedFeatures":"*"}}',
    "B61 star and more": b'{"location":"eastus","properties":{"allowedFeatures":["*","Monitor"]}}',
    "B62 blank": b'{"location":"eastus","properties":{"allowedFeatures":["monitor "]}}',
    "B63 private": b'{"location":"eastus","properties":{"gatewayType":"Private"}}',
    "B65 unknown": b'{"location":"eastus","properties":{"color":"red"}}',
    "B66 proto": b'{"location":"eastus","__proto__":{"admin":true}}',
    "NUL": b'{"location":"eastus","tags":{"a":"\\u0000"}}',
}


@pytest.mark.parametrize("name", BODIES)
def test_b35_bodies(place: Place, name: str) -> None:
    reply = _send(place, "PUT", f"{place.gateway}{V}", BODIES[name])
    _require(reply, 409 if name.startswith("B55") else 400)


def test_b46_a_body_of_ten_mebibytes(place: Place) -> None:
    head = _head(place, "PUT", place.gateway, f"Content-Length: {10 * 1024 * 1024}", "Content-Type: application/json")
    assert _raw(place, head + b'{"location":').startswith(b"HTTP/1.1 413 ")


def test_b48_a_declared_length_of_two_gibibytes(place: Place) -> None:
    head = _head(place, "PUT", place.gateway, "Content-Length: 2147483648", "Content-Type: application/json")
    assert _raw(place, head + b"{").startswith(b"HTTP/1.1 413 ")


def test_b49_chunks_without_end_are_cut_at_the_limit(place: Place) -> None:
    head = _head(place, "PUT", place.gateway, "Transfer-Encoding: chunked", "Content-Type: application/json")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    assert _raw(place, head + chunk * 5).startswith(b"HTTP/1.1 413 ")


def test_b50_compressed_bodies(place: Place) -> None:
    _require(_send(place, "PUT", f"{place.gateway}{V}", b"\x1f\x8b", Content_Encoding="gzip"), 415)


def test_b64_read_only_fields_change_nothing(place: Place) -> None:
    shown = place.cloud.arm("GET", place.gateway).json()
    forged = {
        **shown,
        "id": "/x",
        "name": "other",
        "systemData": {"createdBy": "me"},
        "properties": {
            **shown["properties"],
            "gatewayEndpoint": "evil.example",
            "provisioningState": "Failed",
            "gatewayId": GUID,
        },
    }
    assert place.cloud.arm("PUT", place.gateway, forged).status == 200


SETTINGS = "/providers/Microsoft.HybridCompute/settings/default"


@pytest.mark.parametrize(
    "spelled",
    [
        *("gw", "{gateway}/", "{gateway}?x", "{gateway}#x", "{machine}", "{gateway}-2", "{elsewhere}", " {gateway}"),
        *("/subscriptions/x/resourceGroups/g/providers/Microsoft.HybridCompute/gateways/gw", "x" * 3000, "{gateway}\n"),
    ],
)
def test_b68_gateway_ids_in_settings(place: Place, spelled: str) -> None:
    elsewhere = place.gateway.replace(place.cloud.first["subscriptionId"], GUID)
    named = {"{gateway}": place.gateway, "{machine}": place.machine, "{elsewhere}": elsewhere}
    for mark, text in named.items():
        spelled = spelled.replace(mark, text)
    body = {"properties": {"gatewayProperties": {"gatewayResourceId": spelled}}}
    reply = place.cloud.arm("PUT", f"{place.machine}{SETTINGS}", body)
    assert reply.status in (400, 404)
    assert reply.code in ("InvalidGatewayResourceId", "GatewayNotFound")


def test_b124_settings_of_another_name_or_machine(place: Place) -> None:
    body = {"properties": {"gatewayProperties": {"gatewayResourceId": place.gateway}}}
    assert place.cloud.arm("PUT", f"{place.machine}{SETTINGS}".replace("default", "current"), body).status == 404
    other = place.machine.replace(place.group, "another-group")
    assert place.cloud.arm("PUT", f"{other}{SETTINGS}", body).code == "ResourceGroupNotFound"
    for wrong in (5, ["x"], {"a": 1}, True):
        odd = {"properties": {"gatewayProperties": {"gatewayResourceId": wrong}}}
        assert place.cloud.arm("PUT", f"{place.machine}{SETTINGS}", odd).code == "InvalidRequestContent"


def test_b71_one_gateway_more_than_the_quota(place: Place) -> None:
    reply = place.cloud.arm("PUT", f"{place.gateway}-2", {"location": "eastus"})
    assert (reply.status, reply.code) == (409, "QuotaExceeded")


def test_b76_what_is_not_there_cannot_be_changed_and_needs_no_deletion(place: Place) -> None:
    assert place.cloud.arm("PATCH", f"{place.gateway}-2", {}).code == "ResourceNotFound"
    assert place.cloud.arm("DELETE", f"{place.gateway}-2").status == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "*"}, 412),
        ({"If-Match": '"wrong"'}, 412),
        ({"If-Match": 'W/"weak"'}, 412),
        ({"If-Match": '"a", "b"'}, 412),
        ({"If-Match": "unquoted"}, 400),
        ({"If-Match": '"cut'}, 400),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json; charset=utf-7"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_b78_preconditions_and_content_types(place: Place, headers: dict[str, str], status: int) -> None:
    reply = place.cloud.arm("PUT", place.gateway, {"location": "eastus", "tags": {"changed": "yes"}}, headers=headers)
    assert reply.status == status
    assert reply.code


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "FOO", "POST", "CONNECT"])
def test_b82_methods(place: Place, method: str) -> None:
    _require(_send(place, method, f"{place.gateway}{V}"), 405, "MethodNotAllowed")


def test_b82_an_override_of_the_method_is_not_heard(place: Place) -> None:
    override = {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "DELETE"}
    assert place.cloud.arm("GET", place.gateway, headers=override).json()["name"] == "gw"


def test_b83_head_and_strange_accepts_are_answered(place: Place) -> None:
    assert _send(place, "HEAD", f"{place.gateway}{V}").status == 204
    assert _send(place, "HEAD", f"{place.gateway}-2{V}").status == 404
    assert _send(place, "GET", f"{place.gateway}{V}", Accept="text/xml").headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "query",
    [
        *(
            "$top=-1",
            "$top=0",
            "$top=x",
            "$top=1.5",
            "$top=%D9%A2",
            "$top=1&$top=2",
            "$skipToken=%ff",
            "$skipToken=a.b",
        ),
        *(
            "$skipToken=" + "A" * 3000,
            "$filter=1%20eq%201",
            "$filter=resourceType%20eq%20'x'%20or%201",
            "$skipToken=_w",
        ),
        *("&".join(f"a{number}=1" for number in range(200)), "x=%ff"),
    ],
)
def test_b87_paging(place: Place, query: str) -> None:
    reply = _send(place, "GET", f"{place.cloud.subscription}/resources?api-version=2024-11-01&{query}")
    _require(reply, 400)


def test_b89_a_huge_top_is_cut(place: Place) -> None:
    assert (
        _send(place, "GET", f"{place.cloud.subscription}/resources?api-version=2024-11-01&$top=999999999").status == 200
    )


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer a.b.c", "Bearer ..", "Bearer \xe9.\xe9.\xe9"),
        *(
            "Bearer " + "a" * 20_000,
            "Bearer eyJhbGciOiJub25lIn0.e30.",
            "Bearer W10.W10.W10",
            "Bearer bnVsbA.bnVsbA.e30",
        ),
        "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Ii4uLy4uL2V0Yy9wYXNzd2QifQ.e30.e30",
    ],
)
def test_b95_tokens(place: Place, authorization: str) -> None:
    fields = {"Authorization": authorization} if authorization else {}
    reply = place.cloud.request("DELETE", f"{place.gateway}{V}", headers=fields)
    _require(reply, 401)
    assert reply.headers["www-authenticate"].startswith("Bearer authorization_uri=")


def test_b97_two_authorization_fields(place: Place) -> None:
    head = _head(place, "DELETE", place.gateway, f"Authorization: Bearer {place.foreign}")
    assert _raw(place, head).startswith(b"HTTP/1.1 401 ")


def test_b109_a_token_of_somebody_who_has_no_role_here(place: Place) -> None:
    for method, body in (("GET", None), ("PUT", {"location": "eastus"}), ("PATCH", {}), ("DELETE", None)):
        reply = place.cloud.arm(method, place.gateway, body, token=place.foreign)
        assert reply.code == "AuthorizationFailed"
    listed = place.cloud.arm("GET", "resources", version="2024-11-01", token=place.foreign)
    assert listed.json() == {"value": []}


def test_b109_ids_for_the_token_service_are_no_tokens_for_the_api(place: Place) -> None:
    answer = place.cloud.sign_in()
    for name in ("id_token", "refresh_token"):
        reply = place.cloud.arm("GET", place.gateway, token=answer[name])
        assert reply.status == 401, name


def test_b111_operations_of_others_and_of_nobody(place: Place) -> None:
    put = place.cloud.arm("PUT", place.gateway, {"location": "eastus"})
    url = put.headers["azure-asyncoperation"].removeprefix(place.cloud.base)
    assert _send(place, "GET", url).status == 200
    assert _send(place, "GET", url.upper().replace("API-VERSION", "api-version")).status == 200
    own = url.partition("?")[0]
    operation = own.rpartition("/")[2]
    guessed = f"{(int(operation[:8], 16) + 1) % 2**32:08x}{operation[8:]}"
    for target in (own.replace(operation, guessed), own.replace(operation, "x"), own.replace(operation, "..%2f..")):
        assert _send(place, "GET", f"{target}{V}").status in (400, 404)
    assert place.cloud.arm("GET", own, token=place.foreign).code == "OperationNotFound"
    _require(_send(place, "DELETE", f"{own}{V}"), 405)


@pytest.mark.parametrize(
    "fields",
    [
        ["Host: evil.example"],
        [
            "Host: localhost",
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Proto: http",
            "Forwarded: host=evil.example",
        ],
        ["Host: evil.example:99999999"],
        ["Host: a@evil.example"],
    ],
)
def test_b117_hosts_do_not_reach_our_links(place: Place, fields: list[str]) -> None:
    body = b'{"location":"eastus"}'
    lines = [f"PUT {place.gateway}{V} HTTP/1.1", *fields, f"Authorization: Bearer {place.cloud.admin_token()}"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", "", ""]
    answer = _raw(place, "\r\n".join(lines).encode() + body)
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    assert b"evil" not in answer


def test_b118_two_hosts(place: Place) -> None:
    assert _raw(place, _head(place, "GET", place.gateway, "Host: localhost")).startswith(b"HTTP/1.1 400 ")


def test_b121_ids_of_requests_that_are_not_fit_to_be_repeated(place: Place) -> None:
    for text in ("a%0d%0aX: 1", "x" * 10_000, "<script>", "a b"):
        headers = {
            "x-ms-correlation-request-id": text,
            "x-ms-client-request-id": text,
            "x-ms-return-client-request-id": "true",
        }
        reply = place.cloud.arm("GET", place.gateway, headers=headers)
        assert reply.status == 200
        assert text not in reply.headers.values()


def _head(place: Place, method: str, target: str, *fields: str) -> bytes:
    lines = [f"{method} {target}{V} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Authorization: Bearer {place.cloud.admin_token()}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def _raw(place: Place, request: bytes) -> bytes:
    """Return what comes back for bytes, also when the server closes before it has read them all."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(place.cloud.ca)
    with (
        closing(socket.create_connection(("127.0.0.1", place.cloud.port), timeout=20)) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        with contextlib.suppress(OSError):  # it may have heard enough
            connection.sendall(request)
        received = b""
        with contextlib.suppress(OSError):
            while chunk := connection.recv(LONGEST_ANSWER):
                received += chunk
        return received
