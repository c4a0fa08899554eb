"""What watching adds to a program that does nothing, beside the program alone, libraries we save with, and perun.

    python benchmarks/startup.py

The file is saved and the report shown. ``import h5py`` is what saving can't do without; perun 1.0.0 is in the table if
its environment has been made: see peers.py. It takes seconds a run, so it is run less often.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time

import peers
from harness import PERUN, PYTHON, Report, begin, clean_environ, interleaved, spread

PROGRAMS = {"pass.py": "pass\n", "first.py": "import time; print(time.monotonic_ns())\n"}
PERUN_RUNS = 3


def wall_ms(command: list[str], directory: str) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, env=clean_environ(), check=True, capture_output=True)
    return (time.perf_counter() - start) * 1e3


def first_line_ms(command: list[str], directory: str) -> float:
    """Time until the program's first line has run."""
    start = time.monotonic_ns()
    ended = subprocess.run(command, cwd=directory, env=clean_environ(), check=True, capture_output=True)
    return (int(ended.stdout) - start) / 1e6


def measure(report: Report, pairs: int, directory: str) -> None:
    """Runs of all kinds in turn."""
    watched = [PERUN, "profile"]
    times = interleaved(
        {
            "pass.py alone": lambda: wall_ms([PYTHON, "pass.py"], directory),
            "pass.py watched": lambda: wall_ms([*watched, "pass.py"], directory),
            "first line alone": lambda: first_line_ms([PYTHON, "first.py"], directory),
            "first line watched": lambda: first_line_ms([*watched, "first.py"], directory),
            "import h5py": lambda: wall_ms([PYTHON, "-c", "import h5py"], directory),
        },
        pairs,
    )
    added = {
        what: [b - a for a, b in zip(times[f"{what} alone"], times[f"{what} watched"], strict=True)]
        for what in ("pass.py", "first line")
    }
    floor = [b - a for a, b in zip(times["pass.py alone"], times["import h5py"], strict=True)]
    rows = {
        **times,
        "added to pass.py": added["pass.py"],
        "of which import h5py": floor,
        "added to the first line": added["first line"],
    }
    report.table(f"{pairs} interleaved runs", ["", "ms", "95 % interval"],
                 [(name, *spread(values).cells(1)) for name, values in rows.items()])  # fmt: skip
    report.target("added to pass.py", spread(added["pass.py"]).median, "ms", at_most=160)
    report.target("added to the first line", spread(added["first line"]).median, "ms", at_most=50)
    ours_ms = statistics.median(added["pass.py"])
    report.target("added to pass.py to the import of h5py", ours_ms / statistics.median(floor), "x", at_most=1.6)
    beside_perun(report, statistics.median(times["pass.py alone"]), ours_ms, directory)


def beside_perun(report: Report, alone_ms: float, ours_ms: float, directory: str) -> None:
    """What perun adds, some times ours."""
    what = "added to pass.py to what perun adds"
    if "perun" not in peers.made():
        report.target(what, None, "x", at_most=1 / 40)
        return
    command = [os.path.join(os.path.dirname(peers.python_of("perun")), "perun"), "monitor", "pass.py"]
    added = [wall_ms(command, directory) - alone_ms for _ in range(PERUN_RUNS)]
    text, times = ", ".join(f"{ms / 1e3:.2f}" for ms in added), statistics.median(added) / ours_ms
    print(f"\nperun {peers.version('perun')} adds {text} s to pass.py: {times:.0f} times ours")
    report.target(what, ours_ms / statistics.median(added), "x", at_most=1 / 40)


def main() -> None:
    """Measure and print a table."""
    report, given = begin(__doc__, pairs=(25, 2, "interleaved runs of each"))
    with tempfile.TemporaryDirectory() as directory:
        for name, text in PROGRAMS.items():
            with open(os.path.join(directory, name), "w") as file:
                file.write(text)
        wall_ms([PERUN, "profile", "pass.py"], directory)  # so that all of it has been compiled
        measure(report, given.pairs, directory)
    report.close(given.json)


if __name__ == "__main__":
    main()
