"""Tunnels through scripted enterprise proxies: what they ask for, what they get, and which of several is taken."""

import base64
import ssl
import threading

import pytest
import spnego

from arcgate.core.errors import Hop, HopError
from arcgate.core.names import parse_authority
from arcgate.core.urls import Url, parse_url
from arcgate.net.dialer import ConnectRefused, start_tls
from arcgate.net.enterprise_proxies import SET_ASIDE, EnterpriseProxies
from arcgate.net.proxy_mechanisms import Negotiate, ProxyAccess
from arcgate.net.streams import ByteStream, SocketStream
from arcgate.net.tls import TlsStream, client_context, server_context
from arcgate.wire.heads import RequestHead
from arcgate.wire.proxy_authentication import Scheme
from worlds.authority import Authority
from worlds.counting_proxy import CountingProxy, answer_407, proxy_that
from worlds.scripted import serving

pytestmark = pytest.mark.anyio

TARGET = parse_authority(b"a.example:443")
BASIC = "Basic dXNlcjpodW50ZXIyc2VjcmV0"
CLEAR = "http://user:hunter2secret@proxy.example:3128"
ALL_BUT_NEGOTIATE = ProxyAccess((Scheme.NTLM, Scheme.BASIC))


def wants_basic(head: RequestHead) -> bytes:
    return b"HTTP/1.1 200 OK\r\n\r\n" if head.all("proxy-authorization") == [BASIC] else answer_407('Basic realm="x"')


async def tunnel(
    proxies: EnterpriseProxies, proxy: CountingProxy, url: str, access: ProxyAccess = ALL_BUT_NEGOTIATE
) -> None:
    stream = await proxies.tunnel(parse_url(url), proxy.open, TARGET, 5, access)
    await stream.close()


async def failure(proxy: CountingProxy, url: str, access: ProxyAccess = ALL_BUT_NEGOTIATE) -> ConnectRefused:
    with pytest.raises(ConnectRefused) as caught:
        await tunnel(EnterpriseProxies(), proxy, url, access)
    assert "hunter2secret" not in caught.value.one_line()
    assert caught.value.hop is Hop.PROXY
    return caught.value


async def test_a_password_is_sent_only_after_the_proxy_has_asked_and_from_then_on_at_once() -> None:
    proxies = EnterpriseProxies()
    async with proxy_that(wants_basic) as proxy:
        await tunnel(proxies, proxy, CLEAR)
        await tunnel(proxies, proxy, CLEAR)
    assert proxy.credentials == ["", BASIC, BASIC]


async def test_a_proxy_that_asks_for_nothing_gets_no_password() -> None:
    async with proxy_that(lambda _: b"HTTP/1.1 200 OK\r\n\r\n") as proxy:
        await tunnel(EnterpriseProxies(), proxy, CLEAR)
    assert proxy.credentials == [""]


async def test_a_proxy_that_comes_to_want_something_else_gets_it() -> None:
    proxies = EnterpriseProxies()
    offers = ["Basic realm=x"]

    def answer(head: RequestHead) -> bytes:
        given = head.all("proxy-authorization")
        is_good = bool(given) and given[0].lower().startswith(offers[0].split()[0].lower())
        return b"HTTP/1.1 200 OK\r\n\r\n" if is_good else answer_407(*offers)

    async with proxy_that(answer) as proxy:
        await tunnel(proxies, proxy, CLEAR)
        offers[:] = ["NTLM"]
        await tunnel(proxies, proxy, CLEAR)
    assert [one.split(" ")[0] for one in proxy.credentials] == ["", "Basic", "Basic", "NTLM"]


class NtlmServer:
    """The other side of NTLM, with one user, for one connection at a time."""

    def __init__(self, keeps: bool = True) -> None:
        self._context: spnego.ContextProxy | None = None
        self.more = "" if keeps else "Connection: close\r\n"

    def answer(self, head: RequestHead) -> bytes:
        given = head.all("proxy-authorization")
        if not given:
            return answer_407("NTLM", "Basic realm=x", more="Connection: close\r\n")
        token = base64.b64decode(given[0].removeprefix("NTLM "))
        if token[8] == 1:
            self._context = spnego.server(protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)
        assert self._context is not None
        try:
            out = self._context.step(token)
        except spnego.exceptions.SpnegoError:
            return answer_407("NTLM", "Basic realm=x")
        if not self._context.complete:
            return answer_407(f"NTLM {base64.b64encode(out or b'').decode()}", more=self.more)
        return b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def ntlm_users(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path_factory.mktemp("ntlm") / "users"
    file.write_text("CORP:user:hunter2secret\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(file))


@pytest.mark.usefixtures("ntlm_users")
async def test_ntlm_goes_before_basic_and_stays_on_one_connection() -> None:
    proxies = EnterpriseProxies()
    async with proxy_that(NtlmServer().answer) as proxy:
        await tunnel(proxies, proxy, "http://CORP%5Cuser:hunter2secret@proxy.example")
        assert proxy.connections == 2  # one to be asked, one to answer
        await tunnel(proxies, proxy, "http://CORP%5Cuser:hunter2secret@proxy.example")
    assert proxy.connections == 3
    assert [one.split(" ")[0] for one in proxy.credentials] == ["", "NTLM", "NTLM", "NTLM", "NTLM"]


@pytest.mark.usefixtures("ntlm_users")
async def test_a_wrong_password_is_told_with_every_scheme_that_was_tried() -> None:
    async with proxy_that(NtlmServer().answer) as proxy:
        error = await failure(proxy, "http://CORP%5Cuser:hunter2secret2@proxy.example", ProxyAccess((Scheme.NTLM,)))
    assert error.code == "PROXY_AUTHENTICATION_FAILED"
    assert "(NTLM, Basic)" in error.sentence
    assert "NTLM: the proxy refused it" in error.cause
    assert "password" in error.remedy


@pytest.mark.usefixtures("ntlm_users")
async def test_a_proxy_that_hangs_up_within_ntlm_is_told() -> None:
    async with proxy_that(NtlmServer(keeps=False).answer) as proxy:
        error = await failure(proxy, "http://CORP%5Cuser:hunter2secret@proxy.example")
    assert "in the middle of the authentication" in error.sentence


async def test_without_a_user_the_remedy_says_where_to_put_one() -> None:
    async with proxy_that(wants_basic) as proxy:
        error = await failure(proxy, "http://proxy.example")
    assert proxy.credentials == [""]
    assert "proxy.credentials" in error.remedy


async def test_a_scheme_that_the_settings_exclude_is_not_used() -> None:
    async with proxy_that(wants_basic) as proxy:
        error = await failure(proxy, CLEAR, ProxyAccess((Scheme.NTLM,)))
    assert proxy.credentials == [""]
    assert "proxy.authentication" in error.remedy


async def test_schemes_that_nobody_here_speaks_are_named() -> None:
    async with proxy_that(lambda _: answer_407("Digest realm=x, nonce=y", "OAuth")) as proxy:
        error = await failure(proxy, CLEAR)
    assert "(digest, oauth)" in error.sentence


async def test_without_ticket_and_password_the_remedy_is_a_ticket(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nowhere = tmp_path_factory.mktemp("kerberos")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{nowhere}/cache")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{nowhere}/keytab")
    async with proxy_that(lambda _: answer_407("Negotiate")) as proxy:
        error = await failure(proxy, "http://proxy.example", ProxyAccess())
    assert "Negotiate: " in error.cause
    assert "kinit" in error.remedy
    assert "proxy.keytab" in error.remedy


async def test_a_request_in_absolute_form_goes_out_once_with_what_the_proxy_wants() -> None:
    proxies = EnterpriseProxies()
    url = parse_url(CLEAR)
    async with proxy_that(wants_basic) as proxy:
        for _ in range(2):
            ready = await proxies.ready_for(url, proxy.open, b"http://a/", TARGET, 5, ALL_BUT_NEGOTIATE)
            assert ready.fields == (("Proxy-Authorization", BASIC),)
            await ready.stream.send(b"PUT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await ready.stream.receive()
            await ready.stream.close()
    assert [head.method for head in proxy.heads] == ["HEAD", "HEAD", "PUT", "PUT"]


@pytest.mark.usefixtures("ntlm_users")
async def test_ntlm_is_at_its_last_token_when_a_request_in_absolute_form_goes_out() -> None:
    proxies = EnterpriseProxies()
    url = parse_url("http://CORP%5Cuser:hunter2secret@proxy.example")

    def answer(head: RequestHead) -> bytes:
        whole = server.answer(head)
        return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.method == "HEAD" else whole

    server = NtlmServer()
    async with proxy_that(answer) as proxy:
        for _ in range(2):
            ready = await proxies.ready_for(url, proxy.open, b"http://a/", TARGET, 5, ALL_BUT_NEGOTIATE)
            ((name, value),) = ready.fields
            await ready.stream.send(f"POST http://a/ HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n\r\n".encode())
            assert (await ready.stream.receive()).startswith(b"HTTP/1.1 200 ")
            await ready.stream.close()
    assert [head.method for head in proxy.heads] == [*3 * ["HEAD"], "HEAD", "POST", "HEAD", "POST"]


async def test_an_https_proxy_is_spoken_to_inside_tls(authority: Authority) -> None:
    heads = []
    trusting: ssl.SSLContext = client_context(ca_pem=authority.pem)

    async def proxy(stream: SocketStream) -> None:
        tls = TlsStream(stream, server_context(*authority.issue("proxy.example")), server_side=True)
        await tls.handshake()
        heads.append(await tls.receive())
        await tls.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await tls.send(await tls.receive())

    async with serving(proxy) as server:

        async def open_proxy() -> ByteStream:
            return await start_tls(await server.connect(), trusting, "proxy.example", 5, hop=Hop.PROXY)

        url = parse_url("https://proxy.example:3128")
        stream = await EnterpriseProxies().tunnel(url, open_proxy, TARGET, 5, ProxyAccess())
        await stream.send(b"ping")
        assert await stream.receive() == b"ping"
        await stream.close()
    assert heads == [b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


FIRST, SECOND = parse_url("http://one.example"), parse_url("http://two.example")


def broken(proxy: Url) -> HopError:
    return HopError(Hop.PROXY, "PROXY_UNREACHABLE", f"{proxy.origin} can't be reached.", remedy="Repair it.")


async def test_a_proxy_that_fails_is_set_aside_for_a_while() -> None:
    clock = Clock()
    proxies = EnterpriseProxies(clock)
    asked: list[Url] = []

    async def take(proxy: Url) -> ByteStream:
        asked.append(proxy)
        if proxy is FIRST:
            raise broken(proxy)
        return stream

    async with serving(_nothing) as server:
        stream = await server.connect()
        for _ in range(2):
            assert await proxies.first_working((FIRST, SECOND), take) is stream
        clock.now += SET_ASIDE
        assert await proxies.first_working((FIRST, SECOND), take) is stream
        await stream.close()
    assert asked == [FIRST, SECOND, SECOND, FIRST, SECOND]


async def _nothing(stream: SocketStream) -> None:
    await stream.receive()


async def test_when_no_proxy_works_all_are_named() -> None:
    async def take(proxy: Url) -> ByteStream:
        raise broken(proxy)

    with pytest.raises(HopError) as caught:
        await EnterpriseProxies().first_working((FIRST, SECOND), take)
    assert "one.example" in caught.value.cause
    assert "two.example" in caught.value.cause
    assert caught.value.remedy


async def test_a_refusal_is_the_answer_of_a_proxy_that_works() -> None:
    asked: list[Url] = []

    async def take(proxy: Url) -> ByteStream:
        asked.append(proxy)
        raise HopError(Hop.PROXY, "PROXY_REFUSED", "No.", remedy="Ask.")

    with pytest.raises(HopError):
        await EnterpriseProxies().first_working((FIRST, SECOND), take)
    assert asked == [FIRST]


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    return (
        b"".join(b"%x;a=b\r\n%b\r\n" % (len(one), one) for one in (body[:half], body[half:]) if one)
        + b"0\r\nX: y\r\n\r\n"
    )


def with_page(answer: bytes, length: int, *, is_chunked: bool) -> bytes:
    """Return the 407 with another page."""
    head, _, _ = answer.partition(b"Content-Length")
    page = b"x" * length
    if is_chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(page)
    return head + b"Content-Length: %d\r\n\r\n" % length + page


@pytest.mark.usefixtures("ntlm_users")
@pytest.mark.parametrize(("length", "is_chunked"), [(0, True), (900, True), (300_000, False), (300_000, True)])
async def test_no_page_of_a_proxy_disturbs_ntlm(length: int, is_chunked: bool) -> None:
    server = NtlmServer()

    def answer(head: RequestHead) -> bytes:
        whole = server.answer(head)
        return with_page(whole, length, is_chunked=is_chunked) if b" 407 " in whole else whole

    async with proxy_that(answer) as proxy:
        await tunnel(EnterpriseProxies(), proxy, "http://CORP%5Cuser:hunter2secret@proxy.example")
    assert proxy.connections == 2


async def test_the_end_of_a_chunked_page_is_seen_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arcgate.net.dialer.REFUSAL_TIMEOUT", 3600)
    async with proxy_that(lambda head: with_page(answer_407("Digest"), 5, is_chunked=True)) as proxy:
        assert "(digest)" in (await failure(proxy, CLEAR)).sentence


@pytest.mark.usefixtures("ntlm_users")
@pytest.mark.parametrize(("more", "keeps"), [("", False), ("Proxy-Connection: Keep-Alive\r\n", True)])
async def test_http_1_0_keeps_a_connection_only_when_it_says_so(more: str, keeps: bool) -> None:
    server = NtlmServer()
    server.more = more

    def answer(head: RequestHead) -> bytes:
        return server.answer(head).replace(b"HTTP/1.1", b"HTTP/1.0")

    async with proxy_that(answer) as proxy:
        if keeps:
            await tunnel(EnterpriseProxies(), proxy, "http://CORP%5Cuser:hunter2secret@proxy.example")
        else:
            error = await failure(proxy, "http://CORP%5Cuser:hunter2secret@proxy.example")
            assert "in the middle of the authentication" in error.sentence


async def test_kerberos_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def step(_: Negotiate, challenge: bytes) -> bytes:
        answers.wait(60)
        return b"late"

    monkeypatch.setattr(Negotiate, "step", step)
    async with proxy_that(lambda _: answer_407("Negotiate")) as proxy:
        try:
            with pytest.raises(HopError) as caught:
                await EnterpriseProxies().tunnel(
                    parse_url("http://proxy.example"), proxy.open, TARGET, 0.2, ProxyAccess()
                )
        finally:
            answers.set()
    assert caught.value.code == "PROXY_AUTHENTICATION_FAILED"
    assert "krb5.conf" in caught.value.remedy


async def test_a_proxy_that_sends_a_browser_to_sign_in_is_understood() -> None:
    async with proxy_that(
        lambda _: b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n"
    ) as proxy:
        error = await failure(proxy, CLEAR)
    assert "exempt this machine" in error.remedy
