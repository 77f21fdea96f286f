"""Clones of one identity: found when two services report in turns, never for restarts or requests that were late."""

from datetime import UTC, datetime, timedelta

import pytest

from arcgate.core.instances import MEMORY, MOST_KEPT, Instances, Sighting, describe_conflict

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def after(*beats: tuple[str, int], start: Instances | None = None, pace: timedelta = timedelta(minutes=5)) -> Instances:
    state = start or Instances()
    for index, (instance, sequence) in enumerate(beats):
        state = state.noting(Sighting(instance, sequence, f"host-{instance}", f"uuid-{instance}"), NOW + index * pace)
    return state


def test_one_service_that_counts_on_is_no_conflict() -> None:
    assert not after(*(("a", count) for count in range(1, 50))).is_conflict


def test_restarts_are_no_conflict_however_many() -> None:
    assert not after(*((f"start-{count}", 1) for count in range(50))).is_conflict


def test_two_services_in_turns_are_a_conflict_at_the_fourth_heartbeat() -> None:
    beats = (("a", 1), ("b", 1), ("a", 2), ("b", 2))
    assert not after(*beats[:3]).is_conflict
    found = after(*beats)
    assert found.conflict_since == NOW + timedelta(minutes=15)


def test_clones_with_one_memory_are_found_by_their_counts() -> None:
    assert after(("a", 5), ("a", 5), ("a", 6), ("a", 6)).is_conflict


@pytest.mark.parametrize(
    "beats",
    [
        (("before", 7), ("after", 1), ("before", 8)),
        (("restored", 5), ("restored", 3), ("restored", 4), ("restored", 5)),
    ],
    ids=["a request of before a restart that was late", "a snapshot with its memory"],
)
def test_one_sign_alone_is_no_conflict(beats: tuple[tuple[str, int], ...]) -> None:
    found = after(*beats)
    assert (found.signs, found.is_conflict) == (1, False)


def test_a_conflict_lasts_until_one_alone_has_been_heard_for_long_enough() -> None:
    found = after(("a", 1), ("b", 1), ("a", 2), ("b", 2))
    assert found.last_sign is not None
    soon = found.noting(Sighting("a", 3), found.last_sign + MEMORY)
    assert soon.is_conflict
    alone = after(("a", 3), start=found, pace=MEMORY).noting(Sighting("a", 4), NOW + 3 * MEMORY)
    assert not alone.is_conflict
    assert [one.sighting.instance for one in alone.seen] == ["a"]


def test_the_state_survives_its_storage() -> None:
    for state in (Instances(), after(("a", 1)), after(("a", 1), ("b", 1), ("a", 2), ("b", 2))):
        assert Instances.from_json(state.to_json()) == state
    assert Instances.from_json(None) == Instances()


def test_what_is_remembered_is_bounded() -> None:
    assert len(after(*((f"start-{count}", 1) for count in range(50))).seen) == MOST_KEPT


def test_the_conflict_is_told_with_both_machines_and_the_remedy() -> None:
    text = describe_conflict(after(("a", 1), ("b", 1), ("a", 2), ("b", 2)))
    assert "host-a (VM UUID uuid-a" in text
    assert "host-b (VM UUID uuid-b" in text
    assert "azcmagent disconnect --force-local-only" in text
