"""Run a fleet from a seed, its clients trading, with crashes, partitions, lost commits and skewed clocks, and check
what must always hold."""

import argparse
import importlib
import json
import logging
import sys

from jilnode.cli.arguments import whole_number
from jilnode.module import installed_modules

__all__ = ("add_arguments", "run")

QUICK_STEPS = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="the same seed runs the same (default: 1)")
    parser.add_argument(
        "--steps", type=whole_number(1), default=100_000, help="with faults; then as many as agreement takes"
    )
    parser.add_argument("--nodes", type=whole_number(1), default=20)
    parser.add_argument("--hostile", action="store_true", help="somebody sends entries in others' names")
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("--quick", action="store_true", help=f"at most {QUICK_STEPS} steps with faults")


def run(options: argparse.Namespace) -> int:
    steps = min(options.steps, QUICK_STEPS) if options.quick else options.steps
    try:
        # Loaded only here: a node in production need not have it.
        simulation = importlib.import_module("jilnode.simulation")
    except ModuleNotFoundError:
        print("jilnode: the simulation is not installed", file=sys.stderr)
        return 1
    # What these nodes say of their faults is not this machine's news.
    logging.disable(logging.CRITICAL)
    report = simulation.simulate(
        seed=options.seed, steps=steps, nodes=options.nodes, modules=installed_modules(), hostile=options.hostile
    )
    if options.json:
        for row in report.rows():
            print(json.dumps(row))
    else:
        print(report.text())
    return 0 if report.finding is None else 1
