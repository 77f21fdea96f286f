"""The order in which DNS servers are asked."""

from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.name_servers import LONGEST_PASSED_OVER, MOST_REMEMBERED, PASSED_OVER, NameServer, NameServers

FIRST, SECOND, THIRD = SERVERS = [(f"192.0.2.{number}", 53) for number in range(3)]


def test_servers_are_asked_in_the_order_that_was_set() -> None:
    assert NameServers().order(SERVERS, 5) == SERVERS


def test_one_that_lost_comes_last_for_a_while_and_longer_each_time() -> None:
    standing = NameServers()
    assert standing.lost(FIRST, 0)
    assert not standing.lost(FIRST, 1)
    assert standing.order(SERVERS, PASSED_OVER - 1) == [SECOND, THIRD, FIRST]
    assert standing.order(SERVERS, PASSED_OVER) == SERVERS
    assert standing.lost(FIRST, PASSED_OVER)
    assert standing.order(SERVERS, PASSED_OVER * 2.5) == [SECOND, THIRD, FIRST]
    assert standing.order(SERVERS, PASSED_OVER * 3) == SERVERS


def test_one_that_answers_is_in_its_place_again_and_what_was_is_forgotten() -> None:
    standing = NameServers()
    standing.lost(FIRST, 0)
    standing.answered(FIRST)
    assert standing.order(SERVERS, 1) == SERVERS
    standing.lost(FIRST, 2)
    assert standing.order(SERVERS, 2 + PASSED_OVER) == SERVERS


def test_when_all_have_lost_the_one_whose_time_is_over_first_comes_first() -> None:
    standing = NameServers()
    for number, server in enumerate((SECOND, THIRD, FIRST)):
        standing.lost(server, number)
    assert standing.order(SERVERS, 5) == [SECOND, THIRD, FIRST]


@given(st.lists(st.tuples(st.sampled_from(SERVERS), st.booleans(), st.floats(0, 100)), max_size=60))
def test_every_server_is_asked_whatever_has_happened_and_none_comes_last_for_ever(
    events: list[tuple[NameServer, bool, float]],
) -> None:
    standing, now = NameServers(), 0.0
    for server, has_answered, pause in events:
        now += pause
        if has_answered:
            standing.answered(server)
        else:
            standing.lost(server, now)
        assert sorted(standing.order(SERVERS, now)) == sorted(SERVERS)
    assert standing.order(SERVERS, now + LONGEST_PASSED_OVER) == SERVERS


def test_the_number_of_servers_that_are_remembered_is_bounded() -> None:
    standing = NameServers()
    servers = [(f"192.0.2.{number}", 53) for number in range(2 * MOST_REMEMBERED)]
    for server in servers:
        standing.lost(server, 0)
    assert standing.order(servers, 1)[:MOST_REMEMBERED] == servers[:MOST_REMEMBERED]
