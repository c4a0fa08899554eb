"""What sampling costs: CPU time a sample beside a C loop that does the same, at the default period, and memory.

    python benchmarks/sampling.py

The files are attributes of sysfs, as RAPL's are, read through links in a tree that is laid out as powercap's: the same
system calls, without the hardware. Without a C compiler the floor is a bare loop in Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import PYTHON, Report, begin, interleaved, nvml_stub, ratios, spread
from watching import cpu_ns, memory_b, watched

from perun_like.store.reader import read_recording

ATTRIBUTE = "/sys/class/net/lo/statistics/rx_bytes"  # everywhere, a number, and cheap for the kernel to say
FILES = 4
SLEEP = "import time; time.sleep(1000)"
TREE = (
    f"import subprocess, sys, time\nfor _ in range(int(sys.argv[1])): subprocess.Popen(['sleep', '1000'])\n{SLEEP[13:]}"
)
BARE = """
import mmap, os, struct, sys, time
seconds, period_ns, paths = float(sys.argv[1]), int(sys.argv[2]) * 1000, sys.argv[3:]
with open("/proc/self/timerslack_ns", "w") as file: file.write("1")
files = [os.open(path, os.O_RDONLY) for path in paths]
rows = int(seconds * 1e9 / period_ns)
row = struct.Struct(f"<{2 + len(files)}q")
table = mmap.mmap(-1, rows * row.size)
cpu, due = time.process_time_ns(), time.monotonic_ns()
for number in range(rows):
    due += period_ns
    time.sleep(max(due - time.monotonic_ns(), 0) / 1e9)
    before = time.monotonic_ns()
    values = [int(os.pread(file, 32, 0)) for file in files]
    row.pack_into(table, number * row.size, before, time.monotonic_ns(), *values)
print(rows, time.process_time_ns() - cpu)
"""


def plant(root: str, files: int = FILES) -> dict[str, str]:
    """Lay out a powercap tree whose counters are a sysfs attribute; the environment that has it read."""
    for number in range(files):
        zone = os.path.join(root, f"intel-rapl:{number}")
        os.makedirs(zone)
        for name, text in {"name": f"package-{number}", "max_energy_range_uj": "262143328850"}.items():
            with open(os.path.join(zone, name), "w") as file:
                file.write(text + "\n")
        os.symlink(ATTRIBUTE, os.path.join(zone, "energy_uj"))
    return {"PERUN_POWERCAP_ROOT": root}


def floor_of(directory: str) -> tuple[str, list[str]]:
    """The command of the cheapest loop that can be had here, and its name."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "bare loop (no C compiler)", [PYTHON, "-I", "-S", "-c", BARE]
    program = os.path.join(directory, "floor")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floor.c")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return "C loop", [program]


def loop_us(command: list[str], seconds: int, files: list[str], period_us: int = 1000) -> float:
    """CPU time a sample of a loop that counts by itself."""
    ended = subprocess.run([*command, str(seconds), str(period_us), *files], check=True, capture_output=True, text=True)
    rows, spent_ns = ended.stdout.split()
    return int(spent_ns) / int(rows) / 1e3


def sampler_us(seconds: float, environ: dict[str, str]) -> float:
    """CPU time a sample of our whole sampling process at 1 kHz, once it runs."""
    program = [PYTHON, "-I", "-S", "-c", f"import time; time.sleep({seconds + 0.7})"]
    with watched(program, "--backend", "rapl", "--period", "1ms", environ=environ) as run:
        used_ns, from_ns, to_ns = _cpu_of(run.sampler, seconds)
        run.finish()
        (stream,) = read_recording(run.file).hosts[0].streams
        rows = ((stream.t0_ns >= from_ns) & (stream.t0_ns < to_ns)).sum()
    return used_ns / int(rows) / 1e3


def _cpu_of(pid: int, seconds: float, after_s: float = 0.3) -> tuple[int, int, int]:
    """CPU time of a process within some time, and when that was. Its first moments are left out."""
    time.sleep(after_s)
    from_ns, before_ns = time.monotonic_ns(), cpu_ns(pid)
    time.sleep(seconds)
    return cpu_ns(pid) - before_ns, from_ns, time.monotonic_ns()


def at_1_khz(report: Report, pairs: int, seconds: int) -> None:
    """The sampler beside the floor."""
    with tempfile.TemporaryDirectory() as directory:
        name, command = floor_of(directory)
        environ = plant(os.path.join(directory, "powercap"))
        files = [os.path.join(environ["PERUN_POWERCAP_ROOT"], f"intel-rapl:{n}", "energy_uj") for n in range(FILES)]
        measures: dict[str, Callable[[], float]] = {
            name: lambda: loop_us(command, seconds, files),
            "bare Python loop": lambda: loop_us([PYTHON, "-I", "-S", "-c", BARE], seconds, files),
            "perun-like's sampler": lambda: sampler_us(seconds, environ),
        }
        found = interleaved(measures, pairs)
    rows = [
        (what, *spread(us).cells(1), "{} ({})".format(*spread(ratios(us, found[name])).cells(2)))
        for what, us in found.items()
    ]
    title = f"CPU time a sample, {FILES} files at 1 kHz, {pairs} interleaved runs of {seconds} s"
    report.table(title, ["", "us", "95 % interval", f"to the {name}"], rows)
    ratio = spread(ratios(found["perun-like's sampler"], found[name]))
    report.target("sampler to the floor, CPU time a sample", ratio.median, "x", at_most=1.35)


def at_the_default_period(report: Report, runs: int, seconds: int) -> None:
    """The whole sampler as most people run it, the part of that for energy, and a loop that does no more."""
    with tempfile.TemporaryDirectory() as root:
        name, command = floor_of(root)
        environ = plant(os.path.join(root, "powercap"))
        files = [os.path.join(root, "powercap", f"intel-rapl:{n}", "energy_uj") for n in range(FILES)]
        bare = [PYTHON, "-I", "-S", "-c", BARE]
        measures: dict[str, Callable[[], float]] = {
            f"{name}, 4 files at 10 Hz": lambda: loop_us(command, seconds, files, 100_000) / 1e3,
            "bare Python loop, the same": lambda: loop_us(bare, seconds, files, 100_000) / 1e3,
            "energy alone": lambda: 100 * _share(seconds, ("--backend", "rapl"), environ),
            "everything": lambda: 100 * _share(seconds, (), environ),
        }
        found = interleaved(measures, runs)
    rows = [(what, *spread(shares).cells(3)) for what, shares in found.items()]
    title = f"CPU time of the sampler at the default period, {runs} interleaved runs of {seconds} s"
    report.table(title, ["", "% of a core", "95 % interval"], rows)
    report.target(
        "energy sensors at the default period", spread(found["energy alone"]).median, "% of a core", at_most=0.1
    )


def _share(seconds: float, options: tuple[str, ...], environ: dict[str, str]) -> float:
    with watched([PYTHON, "-I", "-S", "-c", SLEEP], *options, environ=environ) as run:
        used_ns, from_ns, to_ns = _cpu_of(run.sampler, seconds, 1.0)
        return used_ns / (to_ns - from_ns)


def of_a_tree(report: Report, processes: int, seconds: int) -> None:
    """What watching many processes costs beyond watching one."""
    used = {
        count: _share(seconds, ("--backend", "processes"), {}) if not count else _tree_share(count, seconds)
        for count in (0, processes)
    }
    others = len([name for name in os.listdir("/proc") if name.isdigit()])
    each_us = (used[processes] - used[0]) / processes * 1e6
    report.table(
        f"CPU time for the application's processes, {seconds} s, read once a second, {others} other processes",
        ["", "us a second"],
        [
            ("one process", f"{used[0] * 1e6:.0f}"),
            (f"{processes} more", f"{used[processes] * 1e6:.0f}"),
            ("each", f"{each_us:.1f}"),
        ],
    )
    report.target("a process of the application, a second", each_us, "us", at_most=30)


def _tree_share(count: int, seconds: float) -> float:
    with watched([PYTHON, "-I", "-S", "-c", TREE, str(count)], "--backend", "processes") as run:
        used_ns, from_ns, to_ns = _cpu_of(run.sampler, seconds, 1.0 + count * 0.004)
        return used_ns / (to_ns - from_ns)


def memory(report: Report, seconds: int) -> None:
    """Anonymous memory at 1 kHz as time goes by, without and with NVIDIA's library."""
    with tempfile.TemporaryDirectory() as root:
        sets = {"all backends but NVIDIA's": plant(os.path.join(root, "powercap"))}
        gpus = _gpus(root)
        if gpus is not None:
            sets["with four simulated GPUs"] = {**sets["all backends but NVIDIA's"], **gpus}
        sizes = {what: _memory_over(seconds, environ) for what, environ in sets.items()}
    columns = ["", "after 1 s", f"after {seconds} s", "resident"]
    rows = [(what, *(f"{b / 2**20:.1f}" for b in figures)) for what, figures in sizes.items()]
    report.table("memory of the sampler at 1 kHz, MiB: anonymous, and all that is resident", columns, rows)
    limits = dict(zip(("all backends but NVIDIA's", "with four simulated GPUs"), (12, 40), strict=True))
    for what, limit in limits.items():
        figure = sizes[what][1] / 2**20 if what in sizes else None
        report.target(f"anonymous memory of the sampler, {what}", figure, "MiB", at_most=limit)


def _memory_over(seconds: float, environ: dict[str, str]) -> tuple[int, int, int]:
    with watched([PYTHON, "-I", "-S", "-c", SLEEP], "--period", "1ms", environ=environ) as run:
        pid = run.sampler
        time.sleep(1)
        before, _ = memory_b(pid)
        time.sleep(max(seconds - 1, 0))
        return (before, *memory_b(pid))


def _gpus(directory: str) -> dict[str, str] | None:
    """The environment in which four simulated GPUs are found; None without a C compiler."""
    stub = nvml_stub()
    if stub is None:
        return None
    made = [stub.StubGpu(f"GPU-{letter * 4}1111", period_s=0.7) for letter in "abcd"]
    library = stub.build(Path(directory))
    return {"LD_LIBRARY_PATH": str(library), **stub.configure(Path(directory, "gpus"), made)}


def main() -> None:
    """Measure and print tables."""
    report, given = begin(
        __doc__,
        pairs=(7, 1, "interleaved runs of each loop"),
        seconds=(4, 1, "length of one run of a loop"),
        default=(10, 1, "length of a run at the default period"),
        processes=(200, 20, "size of the process tree"),
        long=(70, 2, "length of the run that memory is read in"),
    )
    at_1_khz(report, given.pairs, given.seconds)
    at_the_default_period(report, given.pairs, given.default)
    of_a_tree(report, given.processes, 2 * given.default)
    memory(report, given.long)
    report.close(given.json)


if __name__ == "__main__":
    main()
