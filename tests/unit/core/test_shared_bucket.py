"""Parts of a rate: together never more than the whole, fair among those who use it, and all of it for one alone."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.shared_bucket import LOOK, QUIET, SharedBucket
from worlds.ledgers import uses, workers

SECOND = 1_000_000_000
STEP = 0.01
WHOLE = 1000.0


class Node:
    """Workers that carry 1 token whenever they may and have something to carry."""

    def __init__(self, count: int) -> None:
        self.now = 100.0
        self.parts = uses("m", workers(count))
        self.buckets = [SharedBucket(WHOLE, count, self.now, self._counter(number)) for number in range(count)]
        self.carried = [0] * count

    def _counter(self, number: int) -> Callable[[], int]:
        return lambda: self.parts[number].count_busy(int(self.now * SECOND), int(QUIET * SECOND))

    def step(self, wanting: set[int]) -> None:
        self.now += STEP
        for number in sorted(wanting):
            bucket = self.buckets[number]
            while bucket.fill(self.now) > 0:
                bucket.take(1, self.now)
                self.carried[number] += 1

    def run(self, seconds: float, *wanting: int) -> list[int]:
        before = list(self.carried)
        for _ in range(round(seconds / STEP)):
            self.step(set(wanting))
        return [now - then for now, then in zip(self.carried, before, strict=True)]


def test_one_worker_alone_has_the_whole_and_two_share_it_evenly() -> None:
    node = Node(4)
    node.run(2, 0)
    alone = node.run(4, 0)
    assert abs(alone[0] - 4 * WHOLE) < 0.02 * WHOLE
    node.run(2, 0, 3)
    shared = node.run(4, 0, 3)
    assert abs(shared[0] - 2 * WHOLE) < 0.05 * WHOLE
    assert abs(shared[3] - 2 * WHOLE) < 0.05 * WHOLE
    node.run(2, 3)
    assert abs(node.run(4, 3)[3] - 4 * WHOLE) < 0.02 * WHOLE


@given(st.lists(st.tuples(st.sets(st.integers(0, 2)), st.integers(1, 80)), max_size=15))
def test_the_parts_together_are_the_rate_one_burst_and_what_changes_cost(
    turns: list[tuple[set[int], int]],
) -> None:
    node = Node(3)
    for wanting, steps in turns:
        for _ in range(steps):
            node.step(wanting)
    seconds = node.now - 100
    # Whoever joins is seen by the others after LOOK at the latest.
    joins = sum(len(wanting) for wanting, _ in turns)
    assert sum(node.carried) <= WHOLE * (1 + seconds + LOOK * (joins + 1)) + 3


def test_whoever_waits_looks_again_soon_however_much_is_missing() -> None:
    node = Node(2)
    node.buckets[0].take(100 * WHOLE, node.now)
    assert node.buckets[0].pause(node.now) == LOOK
    node.buckets[1].fill(node.now)
    assert node.buckets[1].pause(node.now) == 0
