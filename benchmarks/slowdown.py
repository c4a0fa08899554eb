"""How much slower a program is that keeps all cores busy, watched at the default period and at 1 kHz.

    python benchmarks/slowdown.py

The program times its own work, which is the same every time: what starting and saving cost is startup.py's matter. The
floor is the program alone; each pair has one run of it and one that is watched, in turn first and second, so that
what else the machine does falls on both.
"""

from __future__ import annotations

import os
import subprocess
import tempfile

from harness import PYTHON, Report, begin, clean_environ, interleaved, ratios, spread
from sampling import plant
from watching import watched

# All processes begin together and do the same amount of work; the time is that of the slowest.
PROGRAM = """
import os, sys, time
rounds, start_r, start_w = int(sys.argv[1]), *os.pipe()
def work():
    x = 1
    for _ in range(rounds): x = x * 1103515245 + 12345 & 0xffffffff
children = []
for _ in os.sched_getaffinity(0):
    pid = os.fork()
    if not pid:
        os.close(start_w)
        os.read(start_r, 1)
        work()
        os._exit(0)
    children.append(pid)
os.close(start_r)
time.sleep(0.1)
start = time.perf_counter()
os.close(start_w)
for pid in children: os.waitpid(pid, 0)
print(time.perf_counter() - start)
"""
_ROUNDS_A_SECOND = 7_000_000  # of one core of a server


def alone_s(rounds: int) -> float:
    """Time of the work by itself."""
    command = [PYTHON, "-I", "-S", "-c", PROGRAM, str(rounds)]
    return float(subprocess.run(command, env=clean_environ(), check=True, capture_output=True, text=True).stdout)


def watched_s(rounds: int, options: tuple[str, ...], environ: dict[str, str]) -> float:
    """Time of the work under the profiler."""
    with watched([PYTHON, "-I", "-S", "-c", PROGRAM, str(rounds)], *options, environ=environ) as run:
        return float(run.finish())


def compare(report: Report, pairs: int, rounds: int) -> None:
    """Runs of all kinds in turn, and the interval of the ratio's median."""
    with tempfile.TemporaryDirectory() as root:
        environ = plant(os.path.join(root, "powercap"))
        times = interleaved(
            {
                "alone": lambda: alone_s(rounds),
                "at the default period": lambda: watched_s(rounds, (), environ),
                "at 1 kHz": lambda: watched_s(rounds, ("--period", "1ms"), environ),
                "alone again": lambda: alone_s(rounds),
            },
            pairs,
        )
    limits = {"at the default period": 0.3, "at 1 kHz": 3.0}
    rows = []
    for what, values in times.items():
        slower = spread([100 * (ratio - 1) for ratio in ratios(values, times["alone"])])
        rows.append(
            (what, f"{spread(values).median:.3f}", f"{slower.median:+.2f}", f"{slower.low:+.2f} to {slower.high:+.2f}")
        )
        if what in limits:
            report.target(f"slower {what}, upper end", slower.high, "%", at_most=limits[what])
    report.table(f"{pairs} interleaved runs on all {os.cpu_count()} CPUs", ["", "s", "% slower", "95 % interval"], rows)


def main() -> None:
    """Measure and print a table."""
    report, given = begin(
        __doc__, pairs=(36, 2, "interleaved runs of each"), ms=(1000, 200, "length of the work, roughly, in ms")
    )
    compare(report, given.pairs, _ROUNDS_A_SECOND * given.ms // 1000)
    report.close(given.json)


if __name__ == "__main__":
    main()
