"""What watching adds to a program that does nothing, beside the program alone and an interpreter that loads h5py.

    python benchmarks/startup.py [--pairs 21]

Runs are interleaved, so that whatever else the machine does meets all of them alike. The first column is the floor; the
last row is what the libraries that save the file cost by themselves.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

PERUN = os.path.join(os.path.dirname(sys.executable), "perun-like")


def wall_ms(command: list[str], directory: str) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def first_line_ms(command: list[str], directory: str) -> float:
    """Time until the program's first line has run."""
    start = time.monotonic_ns()
    ended = subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return (int(ended.stdout) - start) / 1e6


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=21, help="interleaved runs of each (default: 21)")
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "pass.py"), "w") as file:
            file.write("pass\n")
        with open(os.path.join(directory, "first.py"), "w") as file:
            file.write("import time; print(time.monotonic_ns())\n")
        python, watched = [sys.executable], [PERUN, "profile"]
        rows = {
            "pass.py alone": lambda: wall_ms([*python, "pass.py"], directory),
            "pass.py watched": lambda: wall_ms([*watched, "pass.py"], directory),
            "first line alone": lambda: first_line_ms([*python, "first.py"], directory),
            "first line watched": lambda: first_line_ms([*watched, "first.py"], directory),
            "import h5py": lambda: wall_ms([*python, "-c", "import h5py"], directory),
        }
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(pairs):
            for name, measure in rows.items():
                times[name].append(measure())
    report(times)


def report(times: dict[str, list[float]]) -> None:
    """Medians with the middle half, and what watching adds."""
    print(f"{'':20}{'median':>9}  middle half (ms), {len(times['import h5py'])} runs each")
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:20}{median:9.1f}  {low:.1f} to {high:.1f}")
    for what in ("pass.py", "first line"):
        added = [b - a for a, b in zip(times[f"{what} alone"], times[f"{what} watched"], strict=True)]
        print(f"added to {what}: {statistics.median(added):.0f} ms, {min(added):.0f} to {max(added):.0f}")


if __name__ == "__main__":
    main()
