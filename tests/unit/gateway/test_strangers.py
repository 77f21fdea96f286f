"""So many strangers may wait, and fewer from one address: a storm from one host leaves places for others."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from arcgate.gateway.strangers import SILENCE, Strangers, source_of


def test_one_address_takes_its_places_and_others_still_find_some() -> None:
    strangers = Strangers(10, 3, lambda: 0)
    with capture_logs():
        taken = [strangers.enter("192.0.2.1") for _ in range(5)]
        assert [leave is not None for leave in taken] == [True] * 3 + [False] * 2
        assert strangers.enter("192.0.2.2") is not None
        assert taken[0] is not None
        taken[0]()
        taken[0]()
        assert strangers.enter("192.0.2.1") is not None
        assert strangers.enter("192.0.2.1") is None


def test_all_addresses_of_a_hosts_network_count_as_one() -> None:
    strangers = Strangers(10, 1, lambda: 0)
    with capture_logs():
        assert strangers.enter("2001:db8:1:2::1") is not None
        assert strangers.enter("2001:db8:1:2:ffff::9%eth0") is None
        assert strangers.enter("2001:db8:1:3::1") is not None
        assert strangers.enter("192.0.2.1") is not None
        assert strangers.enter("::ffff:192.0.2.1") is None


def test_peers_without_an_address_are_bounded_together_with_all_alone() -> None:
    strangers = Strangers(3, 1, lambda: 0)
    with capture_logs():
        assert [strangers.enter("") is not None for _ in range(4)] == [True] * 3 + [False]


def test_each_kind_of_storm_is_written_down_once_in_a_while_with_its_count() -> None:
    now = 100.0
    strangers = Strangers(2, 1, lambda: now)
    with capture_logs() as logs:
        for _ in range(50):
            strangers.enter("192.0.2.1")
        strangers.enter("192.0.2.2")
        for _ in range(7):
            strangers.enter("192.0.2.3")
        now += SILENCE
        strangers.enter("192.0.2.1")
    assert [(entry["log_level"], entry["limit"], entry["shed"], entry.get("address")) for entry in logs] == [
        ("warning", 1, 1, "192.0.2.1"),
        ("warning", 2, 1, None),
        ("warning", 2, 8, None),
    ]


@given(st.lists(st.tuples(st.sampled_from(("a", "b", "c")), st.booleans()), max_size=60))
def test_places_are_as_many_as_a_count_says(steps: list[tuple[str, bool]]) -> None:
    strangers, inside = Strangers(5, 2, lambda: 0), list[tuple[str, Callable[[], None]]]()
    with capture_logs():
        for address, enters in steps:
            if enters:
                leave = strangers.enter(address)
                may = len(inside) < 5 and [one for one, _ in inside].count(address) < 2
                assert (leave is not None) == may
                if leave is not None:
                    inside.append((address, leave))
            elif inside:
                inside.pop(0)[1]()
    for _, leave in inside:
        leave()
    assert not strangers._by_source  # nothing is kept of those who have left


@pytest.mark.parametrize(
    ("address", "source"),
    [("192.0.2.7", "192.0.2.7"), ("::1", "::/64"), ("fe80::1%lo", "fe80::/64"), ("", ""), ("memory", "memory")],
)
def test_a_source_is_an_address_or_a_network(address: str, source: str) -> None:
    assert source_of(address) == source
