"""Wrong passwords at proxies that count: how often they are told one, and what happens to requests meanwhile."""

import asyncio
import base64
from collections.abc import Callable, Iterable

import pytest
import spnego

from arcgate.core.credential_pauses import FIRST
from arcgate.core.errors import Hop, HopError
from arcgate.core.names import Target, parse_authority
from arcgate.core.urls import Url, parse_url
from arcgate.net.credential_turns import CredentialTurns
from arcgate.net.enterprise_proxies import EnterpriseProxies
from arcgate.net.proxy_mechanisms import ProxyAccess
from arcgate.net.streams import ByteStream, SocketStream
from arcgate.net.tasks import spawn
from arcgate.wire.heads import RequestHead, ResponseHead
from arcgate.wire.proxy_authentication import Scheme
from worlds.counting_proxy import ESTABLISHED, CountingProxy, answer_407, proxy_that
from worlds.scripted import serving
from worlds.waiting import until

pytestmark = pytest.mark.anyio

TARGET, OTHER, THIRD = (parse_authority(b"%b.example:443" % name) for name in (b"a", b"b", b"c"))
WRONG, RIGHT = "http://user:hunter2wrong@proxy.example", "http://user:hunter2right@proxy.example"
RIGHT_BASIC = f"Basic {base64.b64encode(b'user:hunter2right').decode()}"
BASIC = ProxyAccess((Scheme.BASIC,), source="/etc/proxy-credentials")
BOTH = ProxyAccess((Scheme.NTLM, Scheme.BASIC), source="/etc/proxy-credentials")


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def proxies(clock: Clock) -> EnterpriseProxies:
    return EnterpriseProxies(turns=CredentialTurns(clock=clock))


def basic(head: RequestHead) -> bytes:
    return ESTABLISHED if head.all("proxy-authorization") == [RIGHT_BASIC] else answer_407("Basic realm=x")


async def codes(
    proxies: EnterpriseProxies, proxy: CountingProxy, url: str, targets: Iterable[Target], access: ProxyAccess = BASIC
) -> list[str]:
    """Open tunnels at the same time; return what became of each."""

    async def one(target: Target) -> str:
        try:
            stream = await proxies.tunnel(parse_url(url), proxy.open, target, 5, access)
        except HopError as error:
            return error.code
        await stream.close()
        return "OPEN"

    return list(await asyncio.gather(*(one(target) for target in targets)))


FAILED, PAUSED, OPEN = "PROXY_AUTHENTICATION_FAILED", "PROXY_AUTHENTICATION_PAUSED", "OPEN"


async def test_a_wrong_password_is_tried_once_however_many_want_it(proxies: EnterpriseProxies) -> None:
    async with proxy_that(basic) as proxy:
        found = await codes(proxies, proxy, WRONG, [TARGET, OTHER] * 10)
        found += await codes(proxies, proxy, WRONG, [TARGET, THIRD])
    assert sorted(found) == [FAILED, *21 * [PAUSED]]
    assert len(proxy.tries) == 1


async def test_it_is_tried_again_after_pauses_that_grow(proxies: EnterpriseProxies, clock: Clock) -> None:
    counts = []
    async with proxy_that(basic) as proxy:
        for pause in (0, FIRST - 1, 1, 4 * FIRST - 1, 1):
            clock.now += pause
            await codes(proxies, proxy, WRONG, [TARGET, OTHER, THIRD])
            counts.append(len(proxy.tries))
    assert counts == [1, 1, 2, 2, 3]


async def test_another_password_is_tried_at_once(proxies: EnterpriseProxies) -> None:
    async with proxy_that(basic) as proxy:
        await codes(proxies, proxy, WRONG, [TARGET])
        assert await codes(proxies, proxy, RIGHT, [TARGET] * 5) == [OPEN] * 5


async def test_the_errors_say_who_was_refused_where_it_stands_and_when_the_next_try_is(
    proxies: EnterpriseProxies,
) -> None:
    async with proxy_that(basic) as proxy:
        errors = []
        for _ in range(2):
            with pytest.raises(HopError) as caught:
                await proxies.tunnel(parse_url(WRONG), proxy.open, TARGET, 5, BASIC)
            errors.append(caught.value)
    for error in errors:
        for words in ("'user'", "/etc/proxy-credentials", "2027-01-15 08:0", "isn't locked", "azcmagent check"):
            assert words in error.one_line(), error.one_line()
        assert "hunter2" not in error.one_line()


async def test_what_the_proxy_lets_pass_without_a_password_passes_meanwhile(proxies: EnterpriseProxies) -> None:
    def answer(head: RequestHead) -> bytes:
        return ESTABLISHED if head.target == b"b.example:443" else basic(head)

    async with proxy_that(answer) as proxy:
        await codes(proxies, proxy, WRONG, [TARGET])
        assert await codes(proxies, proxy, WRONG, [OTHER, TARGET]) == [OPEN, PAUSED]
    assert len(proxy.tries) == 1


async def test_a_right_password_that_one_target_is_closed_to_goes_on_working(
    proxies: EnterpriseProxies, clock: Clock
) -> None:
    def answer(head: RequestHead) -> bytes:
        return answer_407("Basic realm=x") if head.target == b"b.example:443" else basic(head)

    async with proxy_that(answer) as proxy:
        assert await codes(proxies, proxy, RIGHT, [TARGET]) == [OPEN]
        for expected in (FAILED, PAUSED):
            assert await codes(proxies, proxy, RIGHT, [OTHER]) == [expected]
            assert await codes(proxies, proxy, RIGHT, [TARGET] * 3) == [OPEN] * 3


async def test_an_expired_password_costs_two_tries_in_the_first_round(proxies: EnterpriseProxies) -> None:
    good = [RIGHT_BASIC]

    def answer(head: RequestHead) -> bytes:
        return ESTABLISHED if head.all("proxy-authorization") == good else answer_407("Basic realm=x")

    async with proxy_that(answer) as proxy:
        assert await codes(proxies, proxy, RIGHT, [TARGET]) == [OPEN]
        good[:] = ["nothing"]
        proxy.heads.clear()
        for target in (TARGET, OTHER, THIRD, TARGET):
            await codes(proxies, proxy, RIGHT, [target])
    assert len(proxy.tries) == 2


async def test_while_a_password_is_new_others_wait_for_the_answer_and_then_go_side_by_side() -> None:
    proxies = EnterpriseProxies()
    async with proxy_that(basic) as proxy:
        first = await proxies.turns.take(BASIC.credentials(parse_url(RIGHT)), "x", 5)
        waiting = spawn("requests", codes(proxies, proxy, RIGHT, [TARGET, OTHER]))
        await until(lambda: len(proxy.heads) == 2, what="both were asked for a password")
        assert proxy.tries == []
        await first.accepted()
        assert await waiting == [OPEN, OPEN]


async def test_who_waits_too_long_for_somebody_elses_answer_goes_on(proxies: EnterpriseProxies) -> None:
    credentials = BASIC.credentials(parse_url(RIGHT))
    held_up = await proxies.turns.take(credentials, "a:443", 5)
    other = await proxies.turns.take(credentials, "b:443", 0.01)
    await other.accepted()
    await held_up.accepted()


async def test_a_request_that_is_given_up_lets_the_next_one_try(proxies: EnterpriseProxies) -> None:
    credentials = BASIC.credentials(parse_url(RIGHT))
    first = await proxies.turns.take(credentials, "a:443", 5)
    waiting = spawn("request", proxies.turns.take(credentials, "b:443", 60))
    await asyncio.sleep(0)
    waiting.cancel()
    first.give_back()
    (await proxies.turns.take(credentials, "c:443", 60)).give_back()


class Ntlm:
    """NTLM that refuses every password; it counts the tokens that were made with one."""

    def __init__(self) -> None:
        self.judged = 0

    def answer(self, head: RequestHead) -> bytes:
        given = head.all("proxy-authorization")
        token = base64.b64decode(given[0].removeprefix("NTLM ")) if given and given[0].startswith("NTLM ") else b""
        if token and token[8] == 1:
            server = spnego.server(protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)
            return answer_407(f"NTLM {base64.b64encode(server.step(token) or b'').decode()}")
        self.judged += bool(given)
        return answer_407("NTLM", "Basic realm=x")


async def test_a_challenge_within_ntlm_is_no_refusal_and_basic_comes_a_round_later(
    proxies: EnterpriseProxies, clock: Clock, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path_factory.mktemp("ntlm") / "users"
    users.write_text("CORP:user:hunter2right\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    ntlm = Ntlm()
    async with proxy_that(ntlm.answer) as proxy:
        for rounds in (1, 2, 3):
            await codes(proxies, proxy, WRONG, [TARGET, OTHER], BOTH)
            assert ntlm.judged == rounds
            clock.now += 1800
    assert [one.split()[0] for one in proxy.tries] == ["NTLM", "NTLM", "Basic", "NTLM", "NTLM"]


FIRST_PROXY, SECOND_PROXY = "http://user:hunter2wrong@one.example", "http://two.example"


async def tried(proxies: EnterpriseProxies, second: str, make: Callable[[Url], HopError | None]) -> list[str]:
    asked: list[str] = []
    async with serving(_nothing) as server:

        async def take(proxy: Url) -> ByteStream:
            asked.append(proxy.origin)
            if (error := make(proxy)) is not None:
                raise error
            return await server.connect()

        try:
            stream = await proxies.first_working((parse_url(FIRST_PROXY), parse_url(second)), take)
        except HopError as error:
            asked.append(error.code)
        else:
            await stream.close()
    return asked


async def _nothing(stream: SocketStream) -> None:
    await stream.receive()


def refuses_the_first(proxy: Url) -> HopError | None:
    return HopError(Hop.PROXY, PAUSED, "No.") if proxy.origin == "http://one.example" else None


async def test_a_proxy_with_other_credentials_takes_over(proxies: EnterpriseProxies) -> None:
    found = await tried(proxies, "http://other:hunter2right@two.example", refuses_the_first)
    assert found == ["http://one.example", "http://two.example"]


async def test_a_proxy_with_the_same_credentials_is_not_told_them(proxies: EnterpriseProxies) -> None:
    found = await tried(proxies, "http://user:hunter2wrong@two.example", refuses_the_first)
    assert found == ["http://one.example", PAUSED]


async def test_a_refused_password_is_the_news_when_the_other_proxy_is_dead(proxies: EnterpriseProxies) -> None:
    def make(proxy: Url) -> HopError:
        dead = HopError(Hop.PROXY, "PROXY_UNREACHABLE", "Dead.")
        return refuses_the_first(proxy) or dead

    found = await tried(proxies, "http://other:x@two.example", make)
    assert found == ["http://one.example", "http://two.example", PAUSED]


async def test_requests_in_absolute_form_try_a_wrong_password_once(proxies: EnterpriseProxies) -> None:
    async with proxy_that(basic) as proxy:
        found = []
        for _ in range(3):
            with pytest.raises(HopError) as caught:
                await proxies.ready_for(parse_url(WRONG), proxy.open, b"http://a/", TARGET, 5, BASIC)
            found.append(caught.value.code)
    assert found == [FAILED, PAUSED, PAUSED]
    assert len(proxy.tries) == 1


async def test_a_407_to_the_request_itself_counts(proxies: EnterpriseProxies) -> None:
    async with proxy_that(lambda head: answer_407("Basic") if head.method == "PUT" else basic(head)) as proxy:
        ready = await proxies.ready_for(parse_url(RIGHT), proxy.open, b"http://a/", TARGET, 5, BASIC)
        await ready.stream.send(b"PUT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await ready.stream.receive()
        error = await ready.refused(ResponseHead(407, "Who?", (("proxy-authenticate", "Basic"),)))
        await ready.stream.close()
        assert error.code == FAILED
        with pytest.raises(HopError) as caught:
            await proxies.ready_for(parse_url(RIGHT), proxy.open, b"http://a/", TARGET, 5, BASIC)
    assert caught.value.code == PAUSED
