"""What is remembered of names, compared with a model that keeps everything."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.name_cache import HOT, REFRESH_RETRY, Lives, NameCache
from arcgate.core.names import Address, HostName

ONE, TWO = (ip_address("192.0.2.1"),), (ip_address("2001:db8::2"),)
A, B, C = (HostName(f"{letter}.example") for letter in "abc")

steps = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.sampled_from([A, B, C]),
        st.one_of(st.none(), st.tuples(st.sampled_from([ONE, TWO, ()]), st.integers(0, 100))),
    ),
    max_size=60,
)


@given(steps, st.floats(0, 5), st.floats(5, 50), st.floats(0, 10))
def test_an_answer_serves_for_its_bounded_life_and_not_a_moment_longer(
    taken: list[tuple[float, HostName, tuple[tuple[Address, ...], int] | None]],
    least: float,
    most: float,
    negative: float,
) -> None:
    cache, now, model = NameCache(Lives(least, most, negative, 100)), 0.0, dict[HostName, tuple[object, float]]()
    for pause, host, answer in taken:
        now += pause
        if answer is None:
            known = cache.look_up(host, now)
            addresses, ends = model.get(host, ((), 0.0))
            assert (None if known is None else known.addresses) == (addresses if now < ends else None)
        elif addresses := answer[0]:
            cache.remember(host, addresses, answer[1], now)
            model[host] = addresses, now + min(max(answer[1], least), most)
        else:
            cache.remember_failure(host, "no such name", answer[1], now)
            model[host] = (), now + min(answer[1], negative)


@given(st.lists(st.tuples(st.sampled_from([HostName(f"{n}.example") for n in range(20)]), st.booleans()), max_size=80),
       st.integers(0, 5))  # fmt: skip
def test_it_never_holds_more_names_than_it_may_and_keeps_those_that_were_asked_for_last(
    uses: list[tuple[HostName, bool]], names: int
) -> None:
    cache, model = NameCache(Lives(0, 1000, 1000, names)), list[HostName]()
    for host, is_new in uses:
        if is_new:
            cache.remember(host, ONE, 100, 0)
        elif cache.look_up(host, 0) is None:
            assert host not in model
            continue
        model = [*(one for one in model if one != host), host][-names:] if names else []
        assert len(cache) == len(model) <= names
    assert [host for host in model if cache.look_up(host, 0) is None] == []


def test_only_a_name_that_is_asked_for_often_is_due_before_its_end() -> None:
    cache = NameCache(Lives(0, 1000, 10, 10))
    cache.remember(A, ONE, 100, 0)
    cache.remember(B, ONE, 100, 0)
    for _ in range(HOT):
        known = cache.look_up(A, 1)
        assert known is not None
        assert not known.is_due(79)
    assert known is not None
    assert known.is_due(80)
    seldom = cache.look_up(B, 1)
    assert seldom is not None
    assert not seldom.is_due(99)


def test_a_look_up_in_the_background_that_failed_is_put_off() -> None:
    cache = NameCache(Lives(0, 1000, 10, 10))
    known = cache.remember(A, ONE, 100, 0)
    known.asked = HOT
    cache.refresh_failed(A, 90)
    cache.refresh_failed(B, 90)
    assert not known.is_due(90)
    assert known.is_due(90 + REFRESH_RETRY)


def test_an_address_that_could_be_reached_stays_first_over_a_look_up_that_gives_it_again() -> None:
    cache = NameCache(Lives(0, 1000, 10, 10))
    both = (*TWO, *ONE)
    cache.remember(A, both, 100, 0)
    cache.prefer(A, ONE[0])
    cache.prefer(A, ip_address("192.0.2.99"))
    cache.prefer(B, ONE[0])
    assert [cache.remember(A, both, 100, now).addresses for now in (80, 90)] == [(*ONE, *TWO)] * 2
    assert cache.remember(A, TWO, 100, 95).addresses == TWO
    assert cache.remember(A, both, 100, 96).addresses == both


def test_a_failure_is_not_looked_up_before_its_end() -> None:
    cache = NameCache(Lives(0, 1000, 10, 10))
    known = cache.remember_failure(A, "no such name", 5, 0)
    for _ in range(10):
        assert cache.look_up(A, 4.9) is known
    assert not known.is_due(4.9)
    assert cache.look_up(A, 5) is None
