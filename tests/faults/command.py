"""The campaign's command line."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from pathlib import Path

from .campaign import run
from .catalogue import FAULTS, schedule
from .checks import Outcome
from .table import place_of_table, table, write_table
from .worker import probe, reason_not_apart, work

NAME = "python tests/faults"
_INTERRUPTED = 130


def main() -> int:
    """The exit code: 1 if anything has gone wrong that must not."""
    parser = _parser()
    given = parser.parse_args()
    if given.probe:
        return probe()
    if given.worker is not None:
        work(given.worker)
        return 0
    if given.list:
        sys.stdout.writelines(f"{name}\n" for name in FAULTS)
        return 0
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    tries = schedule(given.count, seed, given.only, given.without)
    if not tries:
        parser.error(f"no fault is called like that; there are: {', '.join(FAULTS)}")
    if given.table is not None:
        place_of_table(given.table)
    return _try_all(tries, given, seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(NAME, description="Kill, starve and corrupt at random moments; see what is left.")
    add = parser.add_argument
    add("--count", type=int, default=len(FAULTS), help="how many tries in all (default: one a fault)")
    add("--seed", type=int, help="of the first try; the others count on from it (default: random)")
    add("--only", action="append", default=[], metavar="NAME", help="faults with this in their name")
    add("--without", action="append", default=[], metavar="NAME", help="no faults with this in their name")
    add("--jobs", type=int, default=2, help="how many at a time (default: 2)")
    add("--table", type=Path, metavar="PATH", help="write the table into this document")
    add("--list", action="store_true", help="tell the names of all faults")
    add("--worker", metavar="REASON", help=argparse.SUPPRESS)
    add("--probe", action="store_true", help=argparse.SUPPRESS)
    return parser


def _try_all(tries: list[tuple[str, int]], given: argparse.Namespace, seed: int) -> int:
    """Try, tell, and write the table, also of what was tried when somebody ended it; the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.write(f"{len(tries)} tries, seed {seed}\n")
    began_s = time.monotonic()
    outcomes: list[Outcome] = []
    interrupted = False
    trying = run(tries, given.jobs, reason_not_apart())
    try:
        for outcome in trying:
            outcomes.append(outcome)
            tell(outcome)
    except KeyboardInterrupt:
        interrupted = True
        trying.close()
    took_s = time.monotonic() - began_s
    summary = f"{len(outcomes)} tries in {took_s:.0f} s, seed {seed}"
    sys.stdout.write(f"\n{table(outcomes)}\n{summary}{', interrupted' if interrupted else ''}\n")
    if given.table is not None:
        write_table(given.table, outcomes, summary)
    if interrupted:
        return _INTERRUPTED
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def tell(outcome: Outcome) -> None:
    """A line for what is as it should be, and all there is to say about what isn't."""
    if outcome.problems:
        sys.stdout.write(f"\n! {outcome.fault}\n")
        sys.stdout.writelines(f"    {problem}\n" for problem in outcome.problems)
        sys.stdout.write(f"  again: {NAME} --count 1 --only {outcome.fault!r} --seed {outcome.seed}\n")
    elif outcome.unavailable:
        sys.stdout.write(f"- {outcome.fault}: not tried: {outcome.unavailable}\n")
    else:
        lost = "" if outcome.loss_s is None else f" ({outcome.loss_s:.3f} s lacking)"
        sys.stdout.write(f"  {outcome.fault}{lost}\n")
    sys.stdout.flush()
