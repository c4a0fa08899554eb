"""A long run watched from outside: does the sampler's memory, or anything else of it, grow?

    python benchmarks/soak.py

A program enters regions all the time, and its whole profiler reads the simulated machine every 10 ms with all backends.
Once a minute somebody looks at the sampling process. Without FUSE, sysfs attributes stand for the counters.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from harness import PYTHON, Report, S, begin
from sampling import plant
from watching import Watched, cpu_ns, memory_b, watched

from perun_like.model.recording import Stream
from perun_like.store.reader import read_recording
from perun_like.testing import FuseUnavailableError, simulated_powercap, two_socket_server

PERIOD = "10ms"
WARM_UP = 0.25  # of the looks: what is allocated once, and buffers that have never been full
SHORTEST_H = 0.1
PROGRAM = """
import signal, sys, time
from perun_like import region
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("entered", flush=True)
while True:
    for name in ("read", "solve", "write"):
        with region(name):
            time.sleep(0.004)
"""


class Look(NamedTuple):
    """What was seen of the sampler, and of the profiler that started it."""

    t_ns: int
    anonymous_b: int
    resident_b: int
    descriptors: int
    cpu_ns: int
    profiler_b: int


@contextmanager
def a_machine() -> Iterator[dict[str, str]]:
    """The environment in which the simulated machine's counters are read, or something that costs as much."""
    try:
        with simulated_powercap(two_socket_server()) as powercap:
            yield dict(powercap.environ)
    except FuseUnavailableError as error:
        print(f"sysfs attributes in place of the simulated machine: {error.reason}")
        with tempfile.TemporaryDirectory() as root:
            yield plant(os.path.join(root, "powercap"))


def looks_at(run: Watched, count: int, every_s: int) -> Iterator[Look]:
    """Look at a run so many times, at equal distances."""
    begun_ns = time.monotonic_ns()
    for number in range(1, count + 1):
        time.sleep(max(begun_ns + number * every_s * S - time.monotonic_ns(), 0) / S)
        anonymous, resident = memory_b(run.sampler)
        descriptors = len(os.listdir(f"/proc/{run.sampler}/fd"))
        profiler, _ = memory_b(run.process.pid)
        yield Look(time.monotonic_ns(), anonymous, resident, descriptors, cpu_ns(run.sampler), profiler)


def soak(count: int, every_s: int) -> tuple[list[Look], Stream, dict[str, float]]:
    """Let a run last; what was seen, what was sampled, and the sampler's own figures."""
    with a_machine() as environ, watched([PYTHON, "-c", PROGRAM], "--period", PERIOD, environ=environ) as run:
        found = [Look(time.monotonic_ns(), *memory_b(run.sampler), 0, cpu_ns(run.sampler), 0)]
        for look in looks_at(run, count, every_s):
            found.append(look)
            after_s, used = (look.t_ns - found[0].t_ns) / S, look.anonymous_b / 2**20
            print(f"{after_s:.0f} s: {used:.2f} MiB, {look.descriptors} descriptors", flush=True)
        os.kill(_application(run), signal.SIGTERM)
        run.finish()
        (host,) = read_recording(run.file).hosts
    fastest = min(host.streams, key=lambda stream: stream.period_ns)
    return found, fastest, host.stats


def _application(run: Watched) -> int:
    """The program's pid."""
    with open(f"/proc/{run.process.pid}/task/{run.process.pid}/children") as file:
        return next(int(pid) for pid in file.read().split() if int(pid) != run.sampler)


def missed(stream: Stream, a_ns: int, b_ns: int) -> int:
    """Grid points between two instants at which nothing was read."""
    t0_ns = stream.t0_ns[(stream.t0_ns >= a_ns) & (stream.t0_ns < b_ns)]
    return int((np.rint(np.diff(t0_ns) / stream.period_ns) - 1).clip(0).sum())


def growth(looks: Sequence[Look]) -> float | None:
    """By how much memory grows, in KiB an hour, after the warm-up; None where the run was too short to tell."""
    settled = looks[int(len(looks) * WARM_UP) :]
    hours = [(look.t_ns - settled[0].t_ns) / S / 3600 for look in settled]
    if hours[-1] < SHORTEST_H:
        return None
    return float(np.polyfit(hours, [look.anonymous_b / 1024 for look in settled], 1)[0])


def show(report: Report, looks: Sequence[Look], stream: Stream, stats: dict[str, float]) -> None:
    """A line for each look."""
    rows = [
        (
            f"{(after.t_ns - looks[0].t_ns) / S:.0f}",
            f"{after.anonymous_b / 2**20:.2f}",
            f"{after.resident_b / 2**20:.2f}",
            after.descriptors,
            f"{100 * (after.cpu_ns - before.cpu_ns) / (after.t_ns - before.t_ns):.2f}",
            missed(stream, before.t_ns, after.t_ns),
            f"{after.profiler_b / 2**20:.2f}",
        )
        for before, after in pairwise(looks)
    ]
    columns = ["after s", "anonymous MiB", "resident MiB", "descriptors", "CPU %", "missed", "profiler, anonymous MiB"]
    report.table(f"the sampler, read every {PERIOD}; {len(stream.t0_ns)} sweeps", columns, rows)
    seen = looks[1:]
    settled = seen[int(len(seen) * WARM_UP) :]
    print(f"missed in all: {stats['missed_ticks']:.0f}; latest: {stats['worst_lateness_ns'] / 1e6:.1f} ms")
    report.target("anonymous memory of the sampler", max(k.anonymous_b for k in seen) / 2**20, "MiB", at_most=12)
    report.target("growth of that", growth(seen), "KiB an hour", at_most=32)
    report.target("descriptors more", settled[-1].descriptors - settled[0].descriptors, "", at_most=0)


def main() -> None:
    """Measure and print a table."""
    report, given = begin(
        __doc__, minutes=(60, 0, "length of the run; 0: three looks"), every=(60, 1, "seconds between two looks")
    )
    show(report, *soak(max(given.minutes * 60 // given.every, 3), given.every))
    report.close(given.json)


if __name__ == "__main__":
    main()
