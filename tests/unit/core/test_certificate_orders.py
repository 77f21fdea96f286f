"""When a certificate is ordered, for which names, and how failures slow that down."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.certificate_orders import (
    LONGEST_WAIT,
    Held,
    Pace,
    Record,
    after_failure,
    after_success,
    names_to_order,
    next_look,
)
from arcgate.core.errors import InputError

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PACE = Pace(between=timedelta(seconds=60), first_retry=timedelta(minutes=1), longest_retry=timedelta(hours=6))
NONE = timedelta()


def held(*names: str, days: int = 90) -> Held:
    return Held(frozenset(names), NOW, NOW + timedelta(days=days))


def test_the_first_order_is_for_all_names_at_once() -> None:
    assert names_to_order(["a", "b"], None, Record(), NOW, 100) == ["a", "b"]


def test_nothing_is_ordered_while_a_certificate_holds_all_names() -> None:
    assert names_to_order(["a"], held("a", "b"), Record(), NOW, 100) == []


def test_a_new_name_is_reason_for_an_order() -> None:
    assert names_to_order(["a", "b"], held("a"), Record(), NOW, 100) == ["a", "b"]


@pytest.mark.parametrize(("days", "expected"), [(59, []), (60, ["a"]), (91, ["a"])])
def test_a_certificate_is_renewed_when_two_thirds_of_its_life_are_over(days: int, expected: list[str]) -> None:
    assert names_to_order(["a"], held("a"), Record(), NOW + timedelta(days=days), 100) == expected


def test_names_beyond_the_most_are_left_out_and_ask_for_no_further_orders() -> None:
    assert names_to_order(["a", "b", "c"], None, Record(), NOW, 2) == ["a", "b"]
    assert names_to_order(["a", "b", "c"], held("a", "b"), Record(), NOW, 2) == []


def test_orders_keep_their_distance_after_success() -> None:
    record = after_success(Record(failures=3, cause="gone"), {}, PACE, NOW)
    assert (record.failures, record.cause, record.succeeded) == (0, "", NOW)
    assert names_to_order(["a"], None, record, NOW + timedelta(seconds=59), 100) == []
    assert names_to_order(["a"], None, record, NOW + timedelta(seconds=60), 100) == ["a"]
    assert next_look(["a"], held(), record, NOW) == NOW + timedelta(seconds=60)


def test_failures_double_the_pause_up_to_the_longest() -> None:
    record, pauses = Record(), []
    for _ in range(12):
        record = after_failure(record, "no", {}, NONE, PACE, NOW)
        assert record.next_order is not None
        pauses.append(record.next_order - NOW)
    assert pauses[:3] == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert pauses[-1] == timedelta(hours=6)


@pytest.mark.parametrize(
    ("wish", "pause"),
    [
        (timedelta(hours=9), timedelta(hours=9)),
        (timedelta(seconds=1), timedelta(minutes=1)),
        (timedelta.max, LONGEST_WAIT),
    ],
    ids=["longer than ours", "shorter than ours", "absurd"],
)
def test_what_the_authority_wants_us_to_wait_counts_when_it_is_more(wish: timedelta, pause: timedelta) -> None:
    assert after_failure(Record(), "rateLimited", {}, wish, PACE, NOW).next_order == NOW + pause


def test_a_refused_name_waits_longer_each_time_and_holds_up_no_other() -> None:
    record = after_success(Record(), {"b": "no address"}, PACE, NOW)
    assert names_to_order(["a", "b"], held("a"), record, NOW + timedelta(seconds=59), 100) == []
    later = NOW + timedelta(seconds=61)
    assert names_to_order(["a", "b"], held("a"), record, later, 100) == ["a", "b"]
    again = after_success(record, {"b": "no address"}, PACE, later)
    assert again.left_out["b"].failures == 2
    assert again.left_out["b"].retry == later + timedelta(minutes=2)
    assert not after_success(again, {}, PACE, later + timedelta(minutes=3)).left_out


def test_a_name_that_waits_still_does_so_after_a_renewal_without_it() -> None:
    record = after_success(Record(), {"b": "no address"}, PACE, NOW)
    assert after_success(record, {}, PACE, NOW + timedelta(seconds=30)).left_out == record.left_out


def test_the_next_look_is_at_the_renewal_when_nothing_else_is_due() -> None:
    record = after_success(Record(), {}, PACE, NOW - timedelta(hours=1))
    assert next_look(["a"], held("a"), record, NOW) == NOW + timedelta(days=60)
    assert next_look(["a"], None, Record(), NOW) is None


@given(st.integers(0, 5), st.lists(st.sampled_from("abc"), unique=True), st.integers(0, 10**7))
def test_a_record_survives_being_written_down(failures: int, refused: list[str], seconds: int) -> None:
    record = Record()
    for _ in range(failures):
        record = after_failure(record, "it\nfails", dict.fromkeys(refused, "no"), timedelta(seconds=seconds), PACE, NOW)
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize("document", [None, {}, [], {"leftOut": 1}, {**Record().to_json(), "tried": "yesterday"}])
def test_what_is_no_record_is_refused(document: object) -> None:
    with pytest.raises(InputError):
        Record.from_json(document)
