"""Ledgers of several workers in the memory of one test."""

from arcgate.core.ledger import WORDS, Ledger
from arcgate.core.machine_use import MachineUse
from arcgate.gateway.machine_ledgers import MachineLedgers


def lone_ledger() -> Ledger:
    """Return an empty ledger."""
    return Ledger(memoryview(bytearray(8 * WORDS)).cast("q"))


def workers(count: int) -> list[MachineLedgers]:
    """Return the ledgers of a node as each of its workers sees them."""
    ledgers = [lone_ledger() for _ in range(count)]
    return [MachineLedgers(own, tuple(one for one in ledgers if one is not own)) for own in ledgers]


def uses(machine: str, ledgers: list[MachineLedgers], *, now: int = 0, seconds: float = 0) -> list[MachineUse]:
    """Return a machine's use as each worker sees it, with its rows taken."""
    made = [MachineUse(machine, one.own, one.others) for one in ledgers]
    assert all(one.take_place(now, seconds) for one in made)
    return made
