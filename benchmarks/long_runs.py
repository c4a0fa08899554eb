"""A week at 10 Hz on the simulated machine: what putting it together takes, and what it takes within a budget on disk.

    python benchmarks/long_runs.py

Nothing is waited for: the part is written as a sampler would have left it. Power varies all the time, registers wrap
1,624 times in a week. Each step is a process of its own, so that memory is that of one thing alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from typing import Any

from harness import MS, PYTHON, Report, S, begin, clean_environ
from sampling import plant
from watching import watched

from perun_like.model.node import Metric, NodeType
from perun_like.store.reader import load, read_recording
from perun_like.testing.long_runs import long_machine, long_part

START_NS = 2**57 + 7  # CLOCK_MONOTONIC of a host that has been up for four years
PERIOD_NS = 100 * MS
SENSORS = 6
_PEAK = """
import json, os, resource, sys, time
def done(**found):
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    print(json.dumps({**found, "cpu_s": time.process_time() - cpu_s, "s": time.perf_counter() - s, "peak": peak}))
"""
_START = "cpu_s, s = time.process_time(), time.perf_counter()\n"
_SAVE = f"""{_PEAK}
from perun_like.monitoring.results import result_of
from perun_like.store.assembly import assemble
from perun_like.store.writer import write
{_START}
recording = assemble(sys.argv[1])
write(sys.argv[2], recording, result_of(recording))
done(size=os.path.getsize(sys.argv[2]))
"""
_THIN = f"""{_PEAK}
from perun_like.sampling.coarser import rewrite
{_START}
rewrite(sys.argv[1], sys.argv[2], os.path.getsize(sys.argv[1]), int(sys.argv[3]))
done(size=os.path.getsize(sys.argv[2]))
"""
_CSV = f"""{_PEAK}
from perun_like.report.csv import write_table
from perun_like.store.reader import open_run
{_START}
with open_run(sys.argv[1]) as run, open(sys.argv[2], "wb") as output:
    write_table(run, output)
done(size=os.path.getsize(sys.argv[2]))
"""
# Rewrites a part again and again until it is told to end.
_BUSY = """
import os, sys
from perun_like.sampling.coarser import rewrite
os.nice(19)
while True:
    rewrite(sys.argv[1], sys.argv[2], os.path.getsize(sys.argv[1]), 1)
    os.unlink(sys.argv[2])
"""


def run(code: str, *arguments: str) -> dict[str, float]:
    """Run a step in a process of its own; what it says of itself."""
    command = [PYTHON, "-c", code, *arguments]
    ended = subprocess.run(command, env=clean_environ(), check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def energy(path: str) -> Metric:
    """The total of a saved run."""
    (node,) = load(path).find(NodeType.RUN)
    return node.metrics["energy_j"]


def week(report: Report, seconds: int, directory: str) -> None:
    """Save a run as it is and thinned out, and compare its total with the integral of the machine's power."""
    machine = long_machine(origin_ns=START_NS - 5 * S)
    window_ns = START_NS, START_NS + seconds * S + 123_456_789
    truth_j = sum(machine.truth_j(zone.path, *window_ns) for zone in machine.zones if zone.name != "core")
    clocks = [{"monotonic_ns": t, "realtime_ns": t + 10**17, "boottime_ns": t} for t in window_ns]
    whole = _parts(directory, "whole")
    long_part(whole, machine, window_ns, PERIOD_NS, clocks)
    sizes_b, rows = {"all samples": os.path.getsize(whole)}, []
    for what, share in (("all samples", 1), ("a third of the room", 3), ("a tenth", 10), ("as little as may be", 0)):
        part = whole if share == 1 else _parts(directory, f"thinned {share}")
        goal_b = sizes_b["all samples"] // share if share else 1
        thinned = run(_THIN, whole, part, str(goal_b)) if share != 1 else {}
        sizes_b[what] = os.path.getsize(part)
        saved = run(_SAVE, os.path.dirname(part), f"{directory}/{share}.h5")
        total = energy(f"{directory}/{share}.h5")
        rows.append(_row(what, thinned, sizes_b[what], saved, total, truth_j))
        _targets(report, what, saved, total, truth_j, sizes_b[what], goal_b if share > 1 else None)
    columns = ["", "part MB", "thinned in s", "peak MiB", "saved in s", "peak MiB", "file MB", "J off", "bounds J"]
    report.table(f"{seconds / 86_400:g} days at 10 Hz, six counters, {truth_j:.0f} J", columns, rows)
    _times(report, f"{directory}/1.h5", f"{directory}/run.csv", window_ns[0])


def _parts(directory: str, name: str) -> str:
    parts = os.path.join(directory, f"{name}.parts")
    os.makedirs(parts)
    return os.path.join(parts, "node01.part")


def _row(
    what: str, thinned: dict[str, float], size_b: int, saved: dict[str, float], total: Metric, truth_j: float
) -> tuple[object, ...]:
    made = (f"{thinned['cpu_s']:.1f}", f"{thinned['peak']:.0f}") if thinned else ("", "")
    off, width = (total.value or 0) - truth_j, (total.upper or 0) - (total.lower or 0)
    file = (f"{saved['s']:.1f}", f"{saved['peak']:.0f}", f"{saved['size'] / 1e6:.1f}")
    return (what, f"{size_b / 1e6:.1f}", *made, *file, f"{off:.2f}", f"{width:.1f}")


def _targets(
    report: Report,
    what: str,
    saved: dict[str, float],
    total: Metric,
    truth_j: float,
    size_b: int,
    goal_b: int | None,
) -> None:
    within = total.lower is not None and total.upper is not None and total.lower <= truth_j <= total.upper
    report.target(f"{what}: truth within the bounds", float(within), "", at_least=1)
    report.target(f"{what}: total off", abs((total.value or 0) - truth_j) / truth_j * 1e6, "millionths", at_most=5)
    if goal_b is None and what == "all samples":
        columns_mib = size_b * (2 + SENSORS) / (3 + SENSORS) / 2**20
        report.target(f"{what}: memory to save it to its columns'", saved["peak"] / columns_mib, "x", at_most=2.2)
    elif goal_b is not None:
        report.target(f"{what}: size to what was allowed", size_b / goal_b, "x", at_most=1)


def _times(report: Report, path: str, table: str, start_ns: int) -> None:
    """Whether the last time of the file and of the table are those of the part, to the nanosecond."""
    csv = run(_CSV, path, table)
    last_ns = int(read_recording(path).hosts[0].streams[0].t0_ns[-1])
    with open(table, "rb") as file:
        file.seek(-1000, os.SEEK_END)
        whole, _, rest = file.read().decode().splitlines()[-1].split(",")[2].partition(".")
    off_ns = int(whole) * S + int(rest.ljust(9, "0")) - (last_ns - start_ns)
    report.table(
        "as CSV",
        ["", "s", "peak MiB", "MB"],
        [("", f"{csv['s']:.1f}", f"{csv['peak']:.0f}", f"{csv['size'] / 1e6:.0f}")],
    )
    report.target("the table's last time to the file's", float(abs(off_ns)), "ns", at_most=0)


def lateness(report: Report, seconds: int, directory: str) -> None:
    """The worst lateness of a sampler at 1 kHz, alone and while a part is rewritten all the time."""
    machine = long_machine(origin_ns=START_NS)
    clocks = [{"monotonic_ns": START_NS, "realtime_ns": 10**18, "boottime_ns": START_NS}] * 2
    part = _parts(directory, "busy")
    long_part(part, machine, (START_NS, START_NS + 86_400 * S), PERIOD_NS, clocks)
    rows = []
    for what in ("alone", "while rewriting"):
        command = [PYTHON, "-c", _BUSY, part, part + ".coarser"]
        other = subprocess.Popen(command) if what != "alone" else None
        try:
            stats = _sampled(seconds, directory, what)
        finally:
            if other is not None:
                other.send_signal(signal.SIGKILL)
                other.wait()
        rows.append((what, stats["missed_ticks"], f"{stats['worst_lateness_ns'] / 1e6:.2f}"))
    report.table(f"the sampler at 1 kHz for {seconds} s", ["", "missed", "latest ms"], rows)


def _sampled(seconds: int, directory: str, name: str) -> dict[str, Any]:
    environ = plant(os.path.join(directory, f"powercap {name}"))
    program = [PYTHON, "-I", "-S", "-c", f"import time; time.sleep({seconds})"]
    with watched(program, "--backend", "rapl", "--period", "1ms", environ=environ) as one:
        one.finish()
        return read_recording(one.file).hosts[0].stats


def main() -> None:
    """Measure and print tables."""
    report, given = begin(
        __doc__,
        seconds=(7 * 86_400, 3600, "length of the simulated run"),
        sampled=(20, 1, "length of a run at 1 kHz"),
    )
    with tempfile.TemporaryDirectory(prefix="perun-benchmark-") as directory:
        week(report, given.seconds, directory)
        lateness(report, given.sampled, directory)
    report.close(given.json)


if __name__ == "__main__":
    main()
