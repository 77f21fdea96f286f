"""`make bench`: measures Arcgate beside others, in turn and in rounds, and writes bench/results/latest.{json,md}.

Load tool and target share the processors with what is measured, so trust the ratios, not the absolute figures.
`QUICK=1` makes one short round.
"""

import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import systems as peers
from load import idle_tunnels, measure, running
from ports import Port

RESULTS = Path(__file__).with_name("results")
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 1 if QUICK else 3
BULK_MIB = 512 if QUICK else 2048
SET_UPS = 300 if QUICK else 1000
IDLE = 500 if QUICK else 2000
IDLE_MANY = 0 if QUICK else 9000
ROUND_TRIP = 20
"""Milliseconds between the hops in the distant measurement."""
SYSTEMS = (peers.direct, peers.kernel_relay, peers.envoy_h1, peers.envoy_h2, peers.squid, peers.arcgate)

Figures = dict[str, float]
Start = Callable[..., AbstractContextManager[peers.System]]
METRICS = {
    "bulk_down_1": "bulk down, 1 tunnel, GiB/s",
    "bulk_up_1": "bulk up, 1 tunnel, GiB/s",
    "bulk_down_16": "bulk down, 16 tunnels, GiB/s",
    "bulk_up_16": "bulk up, 16 tunnels, GiB/s",
    "cpu_per_gib": "CPU seconds per GiB, both hops",
    "plain_down_1": "bulk down that is no TLS, GiB/s",
    "plain_up_1": "bulk up that is no TLS, GiB/s",
    "setup_p50": "set-up p50, ms",
    "setup_p99": "set-up p99, ms",
    "setup_rate": "set-ups/s, 64 at once",
    "cpu_per_setup": "CPU µs per set-up, both hops",
    "far_setup_p50": "first byte at 20 ms round trip between the hops, ms",
    "cold_rate": "set-ups/s with a handshake each, 64 at once",
    "idle_kib": "KiB per idle tunnel, both hops",
    "idle_later_kib": "the same after 8 s without a byte",
    "idle_many_kib": "the same with 9,000 tunnels",
}
DESCRIPTORS = {"kernel-relay": 6}
"""Descriptors of a tunnel in one process where they are not two: sockets, and the ends of a pipe for each direction."""
IDLE_LATER = 8
"""Seconds after which idle tunnels are looked at again: those that may be handed over have been by then."""


def measure_system(system: peers.System, target: Port) -> Figures:
    """Return all figures of one system in one round."""

    def rate(direction: str, tunnels: int, mib: int, *more: str) -> float:
        return measure("bulk", system.proxy, target, direction, tunnels, mib, *more)["gib_per_second"]

    measure("setup", system.proxy, target, 200, 16)  # warm up: caches, first allocations
    figures: Figures = {}
    before = system.cpu_seconds()
    figures["bulk_down_1"] = rate("down", 1, BULK_MIB)
    figures["bulk_up_1"] = rate("up", 1, BULK_MIB)
    figures["cpu_per_gib"] = (system.cpu_seconds() - before) / (2 * BULK_MIB / 1024)
    figures["bulk_down_16"] = rate("down", 16, BULK_MIB // 16)
    figures["bulk_up_16"] = rate("up", 16, BULK_MIB // 16)
    figures["plain_down_1"] = rate("down", 1, BULK_MIB // 2, "plain")
    figures["plain_up_1"] = rate("up", 1, BULK_MIB // 2, "plain")
    one = measure("setup", system.proxy, target, SET_UPS, 1)
    figures["setup_p50"], figures["setup_p99"] = one["p50"], one["p99"]
    before = system.cpu_seconds()
    figures["setup_rate"] = measure("setup", system.proxy, target, SET_UPS * 4, 64)["rate"]
    figures["cpu_per_setup"] = (system.cpu_seconds() - before) / (SET_UPS * 4) * 1e6
    return figures


def measure_idle(system: peers.System, target: Port, tunnels: int) -> tuple[float, float]:
    """Return what an idle tunnel costs in a system that has done little else, in KiB: at once, and later.

    No memory may lie about for them to use.
    """
    measure("setup", system.proxy, target, 100, 4)
    base = system.memory()
    with idle_tunnels(system.proxy, target, tunnels):
        at_once = (system.memory() - base) / tunnels / 1024
        time.sleep(IDLE_LATER)
        return at_once, (system.memory() - base) / tunnels / 1024


def measure_cold(near: peers.System, target: Port) -> Figures:
    """Return what set-ups without any warm connection come to."""
    measure("setup", near.proxy, target, 100, 4)
    return {"cold_rate": measure("setup", near.proxy, target, SET_UPS, 64)["rate"]}


def measure_distant(near: peers.System, target: Port) -> Figures:
    """Return what a round trip between the hops does to a set-up."""
    measure("setup", near.proxy, target, 32, 4)
    return {"far_setup_p50": measure("setup", near.proxy, target, 50, 1)["p50"]}


def main() -> None:
    """Run the rounds and write the table."""
    rounds: dict[str, list[Figures]] = {}
    for number in range(ROUNDS):
        for start in SYSTEMS:
            with running("target") as (target, _), start(target) as system:
                sys.stderr.write(f"round {number + 1} of {ROUNDS}: {system.name}\n")
                figures = measure_system(system, target)
            # Anew: Envoy closes the connection that 500 tunnels share when they are reset together.
            with running("target") as (target, _), start(target) as system:
                if system.pids:
                    figures["idle_kib"], figures["idle_later_kib"] = measure_idle(system, target, IDLE)
            if system.pids:
                figures |= _measure_others(start, system.name, figures)
            rounds.setdefault(system.name, []).append(figures)
    systems = {name: _summary(figures) for name, figures in rounds.items()}
    ours = systems["arcgate"]
    ratios = {
        metric: {
            name: round(ours[metric]["median"] / theirs[metric]["median"], 3)
            for name, theirs in systems.items()
            if name != "arcgate" and theirs.get(metric, {}).get("median")
        }
        for metric in METRICS
    }
    RESULTS.mkdir(exist_ok=True)
    machine = {"processors": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    document = {"machine": machine, "rounds": ROUNDS, "systems": systems, "ratios": ratios}
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=2) + "\n")
    table = _table(systems, ratios)
    (RESULTS / "latest.md").write_text(table)
    sys.stdout.write(table)


def _measure_others(start: Start, name: str, figures: Figures) -> Figures:
    """Return what needs a system set up in another way."""
    more: Figures = {}
    with running("target") as (target, _), start(target, peers.distant(ROUND_TRIP)) as system:
        more |= measure_distant(system, target)
    if name == "arcgate":
        with running("target") as (target, _), peers.arcgate_cold(target) as system:
            more |= measure_cold(system, target)
    elif name != "envoy-h2":  # the others have no connections to spare: each set-up is cold
        more["cold_rate"] = figures["setup_rate"]
    if IDLE_MANY and _has_descriptors(name, IDLE_MANY):
        roomy = peers.arcgate_roomy if name == "arcgate" else start
        with running("target") as (target, _), roomy(target) as system:
            more["idle_many_kib"], _ = measure_idle(system, target, IDLE_MANY)
    return more


def _has_descriptors(name: str, tunnels: int) -> bool:
    """Say whether one process may have as many as that; tell it when not."""
    wanted = tunnels * DESCRIPTORS.get(name, 2)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted >= most:
        sys.stderr.write(f"{name}: {tunnels} idle tunnels take {wanted} descriptors, here are {most} (ulimit -Hn)\n")
    return wanted < most


def _summary(rounds: list[Figures]) -> dict[str, Figures]:
    return {
        metric: {
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
        }
        for metric in METRICS
        if (values := [figures[metric] for figures in rounds if metric in figures])
    }


def _table(systems: dict[str, dict[str, Figures]], ratios: dict[str, dict[str, float]]) -> str:
    others = [name for name in systems if name != "arcgate"]
    names = [*others, "arcgate"]
    head = ["", *names, *(f"arcgate ÷ {name}" for name in others)]
    lines = [head, ["---"] * len(head)]
    for metric, title in METRICS.items():
        figures = [f"{systems[name][metric]['median']:.3g}" if metric in systems[name] else "-" for name in names]
        lines.append([title, *figures, *(f"{ratios[metric].get(name, float('nan')):.2f}" for name in others)])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines).replace("nan", "-")


if __name__ == "__main__":
    main()
