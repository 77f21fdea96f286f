"""Plain requests to a gateway's own name: few paths, packages fetched once for many, nothing told to strangers."""

import asyncio

import pytest

from arcgate.core.errors import Hop, HopError
from arcgate.gateway.installer import GATEWAY_NAME_FIELD, LARGEST_REPORT, MOST_KEPT, Installer, is_plain
from arcgate.net.http_client import Answer
from arcgate.wire.heads import Fields, RequestHead
from worlds.memory_streams import memory_pair

pytestmark = pytest.mark.anyio

PACKAGE = "/packages/azcmagent/azcmagent-1.tar.gz"


class ControlPlane:
    """Gives one answer to everything, and notes what it was asked."""

    def __init__(self, answer: Answer | HopError) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.reports: list[bytes] = []

    async def fetch(self, path: str, headers: dict[str, str]) -> Answer:
        self.asked.append((path, headers))
        await asyncio.sleep(0)
        if isinstance(self.answer, HopError):
            raise self.answer
        return self.answer

    async def report(self, body: bytes) -> Answer:
        self.reports.append(body)
        return await self.fetch("/log", {})


async def ask(
    installer: Installer, path: str, method: str = "GET", fields: Fields = (), body: tuple[bytes, ...] = ()
) -> bytes:
    """Return all that the client gets."""
    near, far = memory_pair()
    serving = asyncio.get_running_loop().create_task(
        installer.serve(far, RequestHead(method, path.encode(), 1, fields), "gw")
    )
    for piece in body:
        await near.send(piece)
    if method == "PUT":
        await near.end()
    received = b""
    while data := await near.receive():
        received += data
    await near.end()
    await serving
    return received


def installer_of(answer: Answer | HopError) -> tuple[Installer, ControlPlane]:
    plane = ControlPlane(answer)
    return Installer(plane.fetch, plane.report, ".gw.arcgate.test"), plane


async def test_the_installer_is_made_for_the_gateway_that_was_asked() -> None:
    installer, plane = installer_of(Answer(200, {"content-type": "text/x-shellscript"}, b"#!/bin/sh\n"))
    answer = await ask(installer, "/azcmagent-linux")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/x-shellscript\r\nContent-Length: 10\r\n")
    assert answer.endswith(b"\r\n\r\n#!/bin/sh\n")
    assert plane.asked == [("/azcmagent-linux", {GATEWAY_NAME_FIELD: "gw.gw.arcgate.test"})]


async def test_a_package_is_fetched_once_for_all_who_ask_at_the_same_time() -> None:
    installer, plane = installer_of(Answer(200, {}, b"package"))
    answers = await asyncio.gather(*(ask(installer, PACKAGE) for _ in range(20)))
    assert all(answer.endswith(b"\r\n\r\npackage") for answer in answers)
    assert len(plane.asked) == 1


async def test_only_few_packages_are_kept_and_failures_are_not() -> None:
    installer, plane = installer_of(Answer(200, {}, b"package"))
    for number in range(MOST_KEPT + 1):
        await ask(installer, f"/packages/{number}")
    await ask(installer, "/packages/0")
    assert len(plane.asked) == MOST_KEPT + 2
    plane.answer = Answer(404, {}, b"")
    assert (await ask(installer, "/packages/none")).startswith(b"HTTP/1.1 404 Not Found\r\n")
    await ask(installer, "/packages/none")
    assert len(plane.asked) == MOST_KEPT + 4


async def test_head_gets_no_body() -> None:
    installer, _ = installer_of(Answer(200, {}, b"package"))
    answer = await ask(installer, PACKAGE, "HEAD")
    assert b"Content-Length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_failure_tells_strangers_nothing_of_the_inside() -> None:
    installer, _ = installer_of(HopError(Hop.TCP, "TCP_REFUSED", "10.1.2.3 port 9443 refused the connection."))
    answer = await ask(installer, "/healthz")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"10.1.2.3" not in answer


@pytest.mark.parametrize("path", ["/", "/node/v1/snapshot", "/packages/../node", "/subscriptions", "/packages/a b"])
async def test_other_paths_are_not_passed_on(path: str) -> None:
    installer, plane = installer_of(Answer(200, {}, b""))
    assert (await ask(installer, path)).startswith(b"HTTP/1.1 405 ")
    assert plane.asked == []


async def test_a_report_of_a_failed_onboarding_is_passed_on() -> None:
    installer, plane = installer_of(Answer(200, {}, b"{}"))
    answer = await ask(installer, "/log", "PUT", (("content-length", "10"),), (b'{"a', b'":"b"}\n'))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert plane.reports == [b'{"a":"b"}\n']


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ((), b"x"),
        ((("content-length", "2"),), b"x"),
        ((("content-length", "1"),), b"xy"),
        ((("content-length", "+1"),), b"x"),
        ((("content-length", "\u0661"),), b"x"),
        ((("content-length", "1"), ("content-length", "1")), b"x"),
        ((("content-length", "1"), ("transfer-encoding", "chunked")), b"x"),
        ((("content-length", str(LARGEST_REPORT + 1)),), b"x"),
    ],
)
async def test_a_report_without_one_good_length_is_refused(fields: Fields, body: bytes) -> None:
    installer, plane = installer_of(Answer(200, {}, b"{}"))
    assert (await ask(installer, "/log", "PUT", fields, (body,))).startswith(b"HTTP/1.1 400 ")
    assert plane.reports == []


@pytest.mark.parametrize(("method", "path"), [("PUT", "/azcmagent-linux"), ("PUT", "/log/"), ("POST", "/log")])
def test_reports_have_one_path_and_one_method(method: str, path: str) -> None:
    assert not is_plain(RequestHead(method, path.encode("ascii"), 1, ()))


async def test_a_report_is_nothing_to_get() -> None:
    installer, plane = installer_of(Answer(200, {}, b"{}"))
    assert (await ask(installer, "/log", "GET")).startswith(b"HTTP/1.1 405 ")
    assert (plane.asked, plane.reports) == ([], [])
