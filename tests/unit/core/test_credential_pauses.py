"""When refused credentials may be sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.credential_pauses import FIRST, LONGEST, MOST_TARGETS, CredentialRecord, Refusals

NOW = 1_800_000_000.0


def refused(count: int) -> Refusals:
    return Refusals(count, NOW)


def test_each_pause_is_longer_than_the_one_before_up_to_half_an_hour() -> None:
    pauses = [refused(count).end - NOW for count in range(1, 7)]
    assert pauses == [30, 120, 480, 1800, 1800, 1800]


def test_fewer_than_five_tries_fit_into_a_quarter_of_an_hour() -> None:
    tries, state = [NOW], refused(1)
    for _ in range(20):
        tries.append(state.end)
        state = state.another(state.end)
    assert max(sum(begin <= one < begin + 15 * 60 for one in tries) for begin in tries) == 4


@given(st.integers(0, 10_000), st.floats(-1e9, 1e9))
def test_no_clock_makes_a_pause_longer_than_the_longest(count: int, later: float) -> None:
    now = NOW + later
    state = refused(count)
    assert not state.is_pause(now) or state.end - now <= LONGEST


def test_nothing_is_sent_within_the_pause() -> None:
    assert not Refusals().is_pause(NOW)
    assert refused(1).is_pause(NOW)
    assert refused(1).is_pause(NOW + FIRST - 1)
    assert not refused(1).is_pause(NOW + FIRST)
    assert not refused(1).is_pause(NOW - 1)  # somebody set the clock back


def record(*, proven: bool = False) -> CredentialRecord:
    made = CredentialRecord()
    if proven:
        made.accepted("a:443")
    return made


def test_an_unknown_password_that_is_refused_is_refused_for_all_targets() -> None:
    one = record()
    assert one.refused("a:443", NOW, NOW)
    one.everything = refused(1)
    assert one.next_try("b:443", NOW) == NOW + FIRST


def test_after_the_pause_other_targets_go_before_the_refused_one() -> None:
    one = record()
    one.refused("a:443", NOW, NOW)
    one.everything = refused(1)
    later = NOW + FIRST
    assert one.next_try("b:443", later) == 0
    # The same moment is told at any time.
    assert {one.next_try("a:443", now) for now in (NOW, later - 1, later, later + FIRST - 1)} == {later + FIRST}
    assert one.next_try("a:443", later + FIRST) == 0


def test_a_proven_password_that_is_refused_for_one_target_is_good_for_others() -> None:
    one = record(proven=True)
    assert not one.refused("b:443", NOW, NOW)
    assert one.next_try("b:443", NOW) == NOW + FIRST
    assert one.next_try("a:443", NOW) == 0
    one.accepted("a:443")
    assert not one.refused("b:443", NOW + FIRST, NOW + FIRST)
    assert one.next_try("b:443", NOW + FIRST) == NOW + FIRST + 120


def test_a_second_refusal_without_a_success_between_counts_for_all() -> None:
    one = record(proven=True)
    one.refused("b:443", NOW, NOW)
    assert not one.is_proven
    assert one.refused("a:443", NOW + 1, NOW + 1)


@pytest.mark.parametrize("proven", [True, False])
def test_what_was_on_its_way_when_another_was_refused_counts_no_more(proven: bool) -> None:
    one = record(proven=proven)
    if one.refused("b:443", NOW, NOW + 1):
        one.everything = Refusals(1, NOW + 1)
    before = one.next_try("b:443", NOW + 2)
    assert not one.refused("b:443", NOW, NOW + 2)
    assert one.next_try("b:443", NOW + 2) == before


def test_after_a_clock_was_set_back_refusals_count_all_the_same() -> None:
    one = record()
    one.everything = refused(1)
    assert one.refused("b:443", NOW - 1000, NOW - 999)


def test_acceptance_ends_everything() -> None:
    one = record()
    one.refused("a:443", NOW, NOW)
    one.everything = refused(3)
    one.accepted("b:443")
    assert one.next_try("a:443", NOW) == 0


def test_the_memory_of_targets_is_bounded() -> None:
    one = record(proven=True)
    for number in range(2 * MOST_TARGETS):
        one.refused(f"{number}:443", NOW, NOW)
        one.accepted("a:443")
    waiting = [number for number in range(2 * MOST_TARGETS) if one.next_try(f"{number}:443", NOW)]
    assert waiting == list(range(MOST_TARGETS, 2 * MOST_TARGETS))
