"""Runs the benchmark: every row beside its reference in the same run, medians of interleaved rounds."""

import argparse
import json
import platform
import sys

from jilnode.kernel.build import BUILD
from scripts.benchmark import dex, kernel, latency, many_accounts, replica, wallet
from scripts.benchmark.rows import text

PARTS = {
    "kernel": kernel.measure,
    "wallet": wallet.measure,
    "dex": dex.measure,
    "replica": replica.measure,
    "latency": latency.measure,
    "accounts": many_accounts.measure,
}
QUICK = ("wallet",)
"""What fits into 50 s."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        epilog="kernel: a command in this process, by stage; wallet: transfers over HTTP; dex: orders, in this process"
        " and over HTTP; replica: entries followed; latency: from a commit here to its visibility there, through"
        " Kafka; accounts: a million of them (10 min).",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("--quick", action="store_true", help="short rounds; without PART only wallet, within 50 s")
    parser.add_argument("--compiled", action="store_true", help="of what scripts/compile has compiled")
    options = parser.parse_args()
    if options.compiled and BUILD != "compiled":
        parser.error("--compiled is for scripts/bench, which compiles and sets the path")
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    of = {"build": BUILD, "python": platform.python_version()}
    if not options.json:
        print(f"the node is {BUILD}, on Python {of['python']}", flush=True)
    for part in options.parts or (QUICK if options.quick else PARTS):
        for item in PARTS[part](options.quick):
            print(json.dumps(item | of) if options.json else text(item), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
