"""What a region costs the program that has it, with a profiler around it and without.

    python benchmarks/regions.py

The floor is a with statement whose object does nothing, and a function that is called. The clock has to be asked twice
in any case; what that costs is a row of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

import peers
from harness import PERUN, PYTHON, Report, begin, clean_environ, spread

# Prints microseconds a call of each kind, some times, interleaved. Marks are budgeted: a million calls at most.
PROGRAM = """
import json, sys, time
repeats, calls = int(sys.argv[1]), int(sys.argv[2])
from perun_like import region

class Nothing:
    def __enter__(self): return self
    def __exit__(self, kind, value, traceback): pass

def plain(): pass
@region("decorated")
def decorated(): pass

def empty(n):
    for _ in range(n): pass
def nothing(n):
    it = Nothing()
    for _ in range(n):
        with it: pass
def clock(n):
    now = time.monotonic_ns
    for _ in range(n): now(); now()
def entered(n):
    for _ in range(n):
        with region("entered"): pass
def kept(n):
    it = region("kept")
    for _ in range(n):
        with it: pass
def call_plain(n):
    for _ in range(n): plain()
def call_decorated(n):
    for _ in range(n): decorated()

kinds = [empty, nothing, clock, call_plain, kept, entered, call_decorated]
found = {kind.__name__: [] for kind in kinds}
for number in range(repeats + 1):
    for kind in kinds if number % 2 else kinds[::-1]:
        start = time.perf_counter_ns()
        kind(calls)
        if number: found[kind.__name__].append((time.perf_counter_ns() - start) / calls / 1e3)
print(json.dumps(found))
"""
PERUN_PROGRAM = """
import json, sys, time
from perun import monitor
@monitor()
def decorated(): pass
decorated()
found = []
for _ in range(int(sys.argv[1])):
    start = time.perf_counter_ns()
    for _ in range(1000): decorated()
    found.append((time.perf_counter_ns() - start) / 1e6)
print(json.dumps({"call_decorated": found}))
"""
NAMES = {
    "nothing": "with an object that does nothing",
    "clock": "the clock, twice",
    "call_plain": "a function that does nothing",
    "kept": "with a region object kept",
    "entered": 'with region("name")',
    "call_decorated": "a decorated function",
}


def run(command: Sequence[str], source: str, *numbers: int) -> dict[str, list[float]]:
    """Run a program that prints what it has measured."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "program.py")
        with open(path, "w") as file:
            file.write(source)
        ended = subprocess.run(
            [*command, path, *map(str, numbers)],
            cwd=directory,
            env=clean_environ(),
            check=True,
            capture_output=True,
            text=True,
        )
    found: dict[str, list[float]] = json.loads(next(line for line in ended.stdout.splitlines() if line[:1] == "{"))
    return found


def show(report: Report, found: Mapping[str, Mapping[str, list[float]]]) -> None:
    """A table of all kinds in all surroundings, less the loop around them."""
    rows = []
    for where, kinds in found.items():
        loop = spread(kinds["empty"]).median if "empty" in kinds else 0.0
        for kind, values in kinds.items():
            if kind != "empty":
                us = spread([value - loop for value in values])
                rows.append((f"{where}: {NAMES[kind]}", f"{us.median:.3f}", f"{us.low:.3f} to {us.high:.3f}"))
    report.table("us a call, enter and exit together", ["", "us", "95 % interval"], rows)


def main() -> None:
    """Measure and print a table."""
    report, given = begin(
        __doc__, repeats=(15, 5, "times that each is measured"), calls=(20_000, 5_000, "calls each time")
    )
    numbers = given.repeats, given.calls
    found = {
        "watched": run([PERUN, "profile", "--no-report", "--python", PYTHON], PROGRAM, *numbers),
        "alone": run([PYTHON], PROGRAM, *numbers),
    }
    if not given.quick and "perun" in peers.made():
        perun = os.path.join(peers.CACHE, "perun", "bin", "perun")
        found["perun 1.0.0"] = run([perun, "monitor"], PERUN_PROGRAM, given.repeats)
    show(report, found)
    median = {
        (where, kind): spread(values).median - spread(kinds.get("empty", [0.0])).median
        for where, kinds in found.items()
        for kind, values in kinds.items()
    }
    report.target("region, entered and left, watched", median["watched", "entered"], "us", at_most=1.0)
    report.target("region, entered and left, alone", median["alone", "entered"], "us", at_most=0.2)
    report.target("decorated function, watched", median["watched", "call_decorated"], "us", at_most=1.2)
    floor = median["watched", "nothing"] + median["watched", "clock"]
    report.target("region to the clock and an empty with", median["watched", "entered"] / floor, "x", at_most=8)
    if "perun 1.0.0" in found:
        times = median["perun 1.0.0", "call_decorated"] / median["watched", "call_decorated"]
        report.target("perun's decorated function to ours", times, "x", at_least=1)
    report.close(given.json)


if __name__ == "__main__":
    main()
