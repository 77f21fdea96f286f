"""`make bench`: measures Arcgate beside others, in turn and in rounds, and writes bench/results/latest.{json,md}.

Load tool and target share the processors with what is measured, so trust the ratios, not the absolute figures.
`QUICK=1` makes one short round.
"""

import json
import os
import platform
import statistics
import sys
from pathlib import Path

from load import Path as Way
from load import bulk, hold_idle, set_up_rate, set_up_times
from systems import System, arcgate, direct, running_target, squid_chain

RESULTS = Path(__file__).with_name("results")
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 1 if QUICK else 3
BULK_MIB = 128 if QUICK else 512
SET_UPS = 100 if QUICK else 400
IDLE = 100 if QUICK else 500

Figures = dict[str, float]
METRICS = {
    "bulk_down_1": "bulk down, 1 tunnel, GiB/s",
    "bulk_up_1": "bulk up, 1 tunnel, GiB/s",
    "bulk_down_16": "bulk down, 16 tunnels, GiB/s",
    "bulk_up_16": "bulk up, 16 tunnels, GiB/s",
    "cpu_per_gib": "CPU seconds per GiB, all hops",
    "setup_p50": "set-up p50, ms",
    "setup_p99": "set-up p99, ms",
    "setup_rate": "set-ups/s, 64 at once",
    "cpu_per_setup": "CPU µs per set-up, all hops",
    "idle_kib": "KiB per idle tunnel, all hops",
}


def measure(system: System, way: Way) -> Figures:
    """Return all figures of one system in one round."""
    set_up_times(way, 20)  # warm up: caches, first allocations
    figures: Figures = {}
    before = system.cpu_seconds()
    figures["bulk_down_1"] = bulk(way, "down", 1, BULK_MIB)
    figures["bulk_up_1"] = bulk(way, "up", 1, BULK_MIB)
    figures["cpu_per_gib"] = (system.cpu_seconds() - before) / (2 * BULK_MIB / 1024)
    figures["bulk_down_16"] = bulk(way, "down", 16, BULK_MIB // 8)
    figures["bulk_up_16"] = bulk(way, "up", 16, BULK_MIB // 8)
    figures["setup_p50"], figures["setup_p99"] = set_up_times(way, SET_UPS)
    before = system.cpu_seconds()
    figures["setup_rate"] = set_up_rate(way, SET_UPS * 2)
    figures["cpu_per_setup"] = (system.cpu_seconds() - before) / (SET_UPS * 2) * 1e6
    if system.pids:
        base = system.memory()
        held = hold_idle(way, IDLE)
        figures["idle_kib"] = (system.memory() - base) / IDLE / 1024
        for connection in held:
            connection.close()
    return figures


def main() -> None:
    """Run the rounds and write the table."""
    rounds: dict[str, list[Figures]] = {}
    with running_target() as target:
        for number in range(ROUNDS):
            for start in (lambda _target: direct(), squid_chain, arcgate):
                with start(target) as system:
                    sys.stderr.write(f"round {number + 1} of {ROUNDS}: {system.name}\n")
                    rounds.setdefault(system.name, []).append(measure(system, Way(system.proxy, target)))
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
