"""Resolving names against scripted DNS servers."""

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from arcgate.core.errors import Hop, HopError, InputError
from arcgate.core.names import HostName
from arcgate.net.resolver import FAILURE_LIFE, HALF_LIFE, MOST_ADDRESSES, Found, NotResolved, SystemResolver
from worlds.dns_server import (
    Question,
    Reply,
    alias_of,
    code,
    dns_server,
    nothing_for,
    raw,
    records,
    silence,
    truncated,
)

pytestmark = pytest.mark.anyio

NAME = HostName("a.example")
NOTHING = records()


def resolver(*servers: str, timeout: float = 5, **settings: object) -> SystemResolver:
    settings.setdefault("hosts_file", Path("/nonexistent"))
    return SystemResolver(servers=servers, timeout=timeout, **settings)  # type: ignore[arg-type]


async def resolve(udp: dict[str, Reply], tcp: dict[str, Reply] | None = None, timeout: float = 5) -> list[str]:
    """Resolve a.example with replies by type."""

    def by_question(replies: dict[str, Reply]) -> dict[Question, Reply]:
        return {(NAME, kind): reply for kind, reply in replies.items()}

    async with dns_server(by_question(udp), by_question(tcp or {})) as server:
        return [str(address) for address in await resolver(server.address, timeout=timeout).resolve(NAME)]


async def failure(udp: dict[str, Reply], tcp: dict[str, Reply] | None = None, timeout: float = 5) -> HopError:
    with pytest.raises(HopError) as caught:
        await resolve(udp, tcp, timeout)
    assert (caught.value.hop, caught.value.code) == (Hop.DNS, "DNS_FAILED")
    assert NAME in caught.value.sentence
    assert caught.value.cause
    assert caught.value.remedy
    assert "\n" not in caught.value.cause
    return caught.value


async def test_addresses_of_both_families_come_in_turns_ipv6_first() -> None:
    found = await resolve(
        {"A": records("192.0.2.1", "192.0.2.2", "192.0.2.3"), "AAAA": records("2001:db8::1", "2001:db8::2")}
    )
    assert sorted(found) == sorted(["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3"])
    assert [":" in address for address in found] == [True, False, True, False, False]


@pytest.mark.parametrize("missing", [NOTHING, code("NXDOMAIN"), code("SERVFAIL"), code("REFUSED"), raw(b"\xff" * 30)])
async def test_one_family_suffices_whatever_happens_to_the_other(missing: Reply) -> None:
    assert await resolve({"A": records("192.0.2.1"), "AAAA": missing}) == ["192.0.2.1"]
    assert await resolve({"AAAA": records("2001:db8::1"), "A": missing}) == ["2001:db8::1"]


async def test_a_family_that_is_never_answered_does_not_hide_the_other() -> None:
    # The time-out is longer than a test may take: the other family is not waited for.
    assert await resolve({"A": records("192.0.2.1"), "AAAA": silence}, timeout=1000) == ["192.0.2.1"]
    assert await resolve({"AAAA": records("2001:db8::1"), "A": silence}, timeout=1000) == ["2001:db8::1"]


async def test_a_name_that_does_not_exist_or_has_no_address_is_told_apart() -> None:
    assert "not exist" in (await failure({})).cause
    assert "no address" in (await failure({"A": NOTHING, "AAAA": NOTHING})).cause


async def test_when_one_family_fails_and_the_other_is_empty_the_failure_is_told() -> None:
    error = await failure({"A": code("SERVFAIL"), "AAAA": NOTHING})
    assert "no address" not in error.cause


@pytest.mark.parametrize(
    "reply",
    [code("SERVFAIL"), code("REFUSED"), code("FORMERR"), code("NOTIMP"), raw(b""), raw(b"\xff" * 100),
    raw(b"\x81\x80" + bytes(8)),
     raw(bytes(500))],
)  # fmt: skip
async def test_a_server_that_fails_or_answers_garbage_is_a_dns_failure(reply: Reply) -> None:
    await failure({"A": reply, "AAAA": reply}, timeout=0.5)


async def test_a_server_that_never_answers_is_a_failure_within_the_time() -> None:
    assert "in time" in (await failure({"A": silence, "AAAA": silence}, timeout=0.3)).cause


async def test_an_answer_to_another_question_is_not_taken() -> None:
    def other(query: object) -> bytes | None:
        import dns.message
        import dns.rrset

        assert isinstance(query, dns.message.Message)
        forged = dns.message.make_query("evil.example.", "A", id=query.id)
        response = dns.message.make_response(forged)
        response.answer.append(dns.rrset.from_text("evil.example.", 60, "IN", "A", "203.0.113.9"))
        return response.to_wire()

    await failure({"A": other, "AAAA": NOTHING}, timeout=0.5)


async def test_a_truncated_answer_is_asked_for_again_by_tcp() -> None:
    found = await resolve({"A": truncated, "AAAA": NOTHING}, {"A": records("192.0.2.1")})
    assert found == ["192.0.2.1"]
    await failure({"A": truncated, "AAAA": NOTHING}, {"A": silence}, timeout=0.5)


async def test_an_alias_is_followed_in_the_same_answer() -> None:
    def reply(query: object) -> bytes | None:
        import dns.message
        import dns.rrset

        assert isinstance(query, dns.message.Message)
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "CNAME", "b.example."))
        response.answer.append(dns.rrset.from_text("b.example.", 60, "IN", "A", "192.0.2.7"))
        return response.to_wire()

    assert await resolve({"A": reply, "AAAA": NOTHING}) == ["192.0.2.7"]


@pytest.mark.parametrize(
    "chain", [["b.example", "a.example"], ["a.example"], [f"x{number}.example" for number in range(60)]]
)
async def test_a_loop_or_endless_chain_of_aliases_is_a_failure(chain: list[str]) -> None:
    await failure({"A": alias_of(*chain), "AAAA": alias_of(*chain)}, timeout=0.5)


async def test_of_very_many_addresses_a_bounded_number_is_looked_at() -> None:
    many = records(*(f"192.0.2.{number}" for number in range(1, 41)))
    found = await resolve({"A": many, "AAAA": NOTHING}, {"A": many})
    assert len(found) == MOST_ADDRESSES


async def test_names_are_asked_for_as_they_are_without_a_search_list() -> None:
    async with dns_server({}) as server:
        with pytest.raises(HopError):
            await resolver(server.address).resolve(HostName("single"))
        assert {name for _, name, _ in server.asked} == {"single"}


async def test_a_name_is_asked_for_once_a_family() -> None:
    async with dns_server({(NAME, "A"): records("192.0.2.1"), (NAME, "AAAA"): NOTHING}) as server:
        await resolver(server.address).resolve(NAME)
        assert sorted(server.asked) == [("udp", NAME, "A"), ("udp", NAME, "AAAA")]


async def test_slow_names_do_not_hold_up_others() -> None:
    replies: dict[Question, Reply] = {(NAME, "A"): records("192.0.2.1"), (NAME, "AAAA"): NOTHING}
    for number in range(50):
        replies |= {(f"slow{number}.example", kind): silence for kind in ("A", "AAAA")}
    async with dns_server(replies) as server:
        asking = resolver(server.address, timeout=1)
        slow = [asking.resolve(HostName(f"slow{number}.example")) for number in range(50)]
        slow_done = asyncio.gather(*slow, return_exceptions=True)
        assert [str(one) for one in await asking.resolve(NAME)] == ["192.0.2.1"]
        assert not slow_done.done()
        assert all(isinstance(result, HopError) for result in await slow_done)


async def test_the_next_server_is_asked_when_the_first_one_fails() -> None:
    replies: dict[Question, Reply] = {(NAME, "A"): records("192.0.2.1"), (NAME, "AAAA"): NOTHING}
    broken: dict[Question, Reply] = {(NAME, kind): code("SERVFAIL") for kind in ("A", "AAAA")}
    async with dns_server(broken) as first, dns_server(replies) as second:
        found = await resolver(first.address, second.address).resolve(NAME)
    assert [str(address) for address in found] == ["192.0.2.1"]


async def found(udp: dict[str, Reply], timeout: float = 5) -> Found:
    """Return what is found of a.example with replies by type."""
    async with dns_server({(NAME, kind): reply for kind, reply in udp.items()}) as server:
        return await resolver(server.address, timeout=timeout).find(NAME)


async def test_an_answer_may_be_believed_for_the_shortest_of_its_times() -> None:
    both = {"A": records("192.0.2.1", ttl=300), "AAAA": records("2001:db8::1", ttl=200)}
    assert (await found(both)).ttl == 200
    assert (await found({**both, "AAAA": nothing_for(120, 90)})).ttl == 90
    assert (await found({**both, "AAAA": NOTHING})).ttl == 300


async def test_half_an_answer_is_believed_for_a_short_time() -> None:
    assert (await found({"A": records("192.0.2.1", ttl=300), "AAAA": code("SERVFAIL")})).ttl == HALF_LIFE


@pytest.mark.parametrize(
    ("reply", "ttl", "is_definite"),
    [
        (nothing_for(120, 90), 90, True),
        (nothing_for(60, 90, "NXDOMAIN"), 60, True),
        (code("NXDOMAIN"), 0, True),
        (NOTHING, 0, True),
        (code("SERVFAIL"), FAILURE_LIFE, False),
    ],
)
async def test_that_there_is_no_address_may_be_believed_as_long_as_the_zone_says(
    reply: Reply, ttl: float, is_definite: bool
) -> None:
    with pytest.raises(NotResolved) as caught:
        await found({"A": reply, "AAAA": reply})
    assert (caught.value.ttl, caught.value.is_definite) == (ttl, is_definite)


@pytest.mark.parametrize("broken", [silence, code("SERVFAIL"), code("REFUSED")])
async def test_a_server_that_is_dead_or_fails_comes_last_until_it_has_had_its_time(broken: Reply) -> None:
    replies: dict[Question, Reply] = {(NAME, "A"): records("192.0.2.1"), (NAME, "AAAA"): NOTHING}
    async with (
        dns_server({(NAME, kind): broken for kind in ("A", "AAAA")}) as first,
        dns_server(replies) as second,
    ):
        asking = resolver(first.address, second.address)
        with capture_logs() as logs:
            await asking.resolve(NAME)
        assert len(logs) == 1
        first.asked.clear()
        for _ in range(5):
            assert await asking.resolve(NAME) == [ip_address("192.0.2.1")]
        assert first.asked == []


async def test_that_there_is_no_such_name_is_an_answer_and_no_other_server_is_asked() -> None:
    async with dns_server({}) as first, dns_server({}) as second:
        with pytest.raises(NotResolved):
            await resolver(first.address, second.address).resolve(NAME)
        assert second.asked == []


async def test_fixed_hosts_come_before_dns() -> None:
    fixed = resolver("127.0.0.1:9", hosts={"A.Example": "192.0.2.9"})
    assert await fixed.resolve(NAME) == [ip_address("192.0.2.9")]


async def test_a_change_of_the_hosts_file_is_seen_at_once_and_it_may_hold_anything(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_bytes(
        b"# a.example 192.0.2.1\n192.0.2.2\tb.example A.EXAMPLE # comment\n\xff\xfe\nnonsense a.example\n"
        b"fe80::1%lo a.example\n2001:db8::1 a.example\n192.0.2.3\n\x00\n999.1.1.1 a.example\n"
    )
    asking = resolver("127.0.0.1:9", hosts_file=hosts)
    assert await asking.resolve(NAME) == [ip_address("192.0.2.2"), ip_address("fe80::1"), ip_address("2001:db8::1")]
    hosts.write_text("192.0.2.5 a.example\n")
    assert await asking.resolve(NAME) == [ip_address("192.0.2.5")]
    replacement = tmp_path / "new"
    replacement.write_text("192.0.2.6 a.example\n")  # of the same size
    replacement.replace(hosts)
    assert await asking.resolve(NAME) == [ip_address("192.0.2.6")]
    hosts.unlink()
    assert asking.fixed(NAME) == []


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]", "[::1]:5353", "2001:db8::53"])
def test_a_server_is_an_address_with_or_without_a_port(text: str) -> None:
    SystemResolver(servers=[text])


@pytest.mark.parametrize(
    "text", ["", "dns.example", "127.0.0.1:x", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.1", "[127.0.0.1",
             "127.0.0.1:99999", "::1%lo:x", "[::1]x", "https://1.1.1.1", "127.0.0.1:+53", "127.0.0.1 ", "127.0.0.1\n"]
)  # fmt: skip
def test_another_text_is_no_server(text: str) -> None:
    with pytest.raises(InputError) as caught:
        SystemResolver(servers=[text])
    assert caught.value.code == "DNS_SERVER_INVALID"
