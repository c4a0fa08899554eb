"""From samples to results: a spool to its file, regions among samples, a table as CSV. Time, memory and size.

    python benchmarks/saving.py

Every measurement is made in a fresh process, so that memory is that of one thing alone. Floors are the least that could
be done: the samples copied as they are, two look-ups a region, a table by the csv module.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import MS, PYTHON, Report, S, begin, clean_environ, interleaved, spread

SENSORS = 6
REGISTER = 1 << 32
UNITS_NJ = (61_035, 61_035, 61_035, 61_035, 15_300, 15_300)
START_NS = 5 * S


def counters(rows: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times before and after each sweep at 1 kHz, and what counters showed, in uJ, shape (sensors, rows).

    Power walks by up to 10 W every 3 ms; the registers have 32 bits and are updated every 0.977 ms.
    """
    random = np.random.default_rng(seed)
    t0_ns = START_NS + np.arange(rows) * MS + (20_000 + random.gamma(2.0, 15_000, rows)).astype(np.int64)
    t1_ns = t0_ns + (9_000 + random.gamma(2.0, 500, rows)).astype(np.int64)
    seen_ns = t0_ns // 976_562 * 976_562
    steps_ns = np.arange(START_NS - 3 * MS, t0_ns[-1] + 6 * MS, 3 * MS)
    raw = np.empty((SENSORS, rows), np.int64)
    for row, unit_nj in zip(raw, UNITS_NJ, strict=True):
        walk = np.cumsum(random.uniform(-10, 10, len(steps_ns)))
        power_w = 20 + np.abs((walk + 150) % 400 - 200)  # reflected at 20 and 220 W
        energy_nj = np.concatenate([[0.0], np.cumsum(power_w[:-1] * 3 * MS)])
        units = (np.interp(seen_ns, steps_ns, energy_nj) / unit_nj).astype(np.int64)
        row[:] = units % REGISTER * unit_nj // 1000
    return t0_ns, t1_ns, raw


def sensors(units_invert: bool) -> list[dict[str, Any]]:
    """What the sampler says of them; a range that no register has keeps the file from knowing their unit."""
    from perun_like.sensing.contract import Sensor

    made = [
        Sensor(
            id=f"rapl:package-{number}",
            backend="rapl",
            group="cpu",
            quantity="energy",
            kind="counter",
            unit="J",
            scale=1e-6,
            modulus=(REGISTER * unit_nj // 1000) + (0 if units_invert else 10**9 + 7),
            resolution=-(-unit_nj // 1000),
            tick_ns=976_563,
            lag_ns=50_000,
            ceiling=1500.0,
            domain="package",
            identity=f"package-{number}",
        )
        for number, unit_nj in enumerate(UNITS_NJ)
    ]
    return [sensor._asdict() for sensor in made]


def spool_of(directory: str, rows: int, units_invert: bool) -> str:
    """What a sampler leaves of a run with so many sweeps; the directory of its parts."""
    from perun_like.sampling import spool
    from perun_like.sampling.host import clocks, host_facts

    parts = os.path.join(directory, "run.parts")
    os.makedirs(parts)
    t0_ns, t1_ns, raw = counters(rows)
    table = np.column_stack([t0_ns, t1_ns, np.full(rows, (1 << SENSORS) - 1), raw.T]).astype("<i8")
    part = spool.Part(os.path.join(parts, "host.part"))
    run = {"name": "benchmark", "run_id": "run", "size": 1, "metadata": {}}
    part.write_json(spool.HEADER, {"run": run, "local": "/", "marks": None, "host": host_facts(), "clocks": clocks()})
    facts = {"backend": "rapl", "period_ns": MS, "sensors": sensors(units_invert)}
    part.write_json(spool.STREAM, facts, 0)
    for sequence, start in enumerate(range(0, rows, 30_000), 1):  # the sampler moves its newest rows every 30 s
        part.write(spool.ROWS, table[start : start + 30_000].tobytes(), 0, sequence)
    process = {"rank": 0, "pid": 1, "start_ns": START_NS + MS, "stop_ns": int(t1_ns[-1]) - 2 * MS, "exit_code": 0}
    part.write_json(spool.NOTE, {"process": process})
    part.write_json(spool.FOOTER, {"stats": {}, "clocks": clocks(), "cut": None, "ranks": []})
    part.close()
    return parts


# In a process of its own: what takes how long, and the largest resident memory, in MiB.
_MEMORY = """
def peak_mib():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
"""
_SAVE = f"""
import json, sys, time
from perun_like.monitoring.results import result_of
from perun_like.store.assembly import assemble
from perun_like.store.writer import write
{_MEMORY}
before, times = peak_mib(), [time.perf_counter()]
recording = assemble(sys.argv[1]); times.append(time.perf_counter())
tree = result_of(recording); times.append(time.perf_counter())
write(sys.argv[2], recording, tree); times.append(time.perf_counter())
assemble_s, analyse_s, write_s = (b - a for a, b in zip(times, times[1:]))
print(json.dumps(dict(assemble=assemble_s, analyse=analyse_s, write=write_s, before=before, peak=peak_mib())))
"""
_COPY = f"""
import json, os, sys, time
import numpy, h5py
{_MEMORY}
start = time.perf_counter()
with open(sys.argv[1] + "/host.part", "rb") as source, open(sys.argv[2], "wb") as copy:
    while block := source.read(1 << 20): copy.write(block)
    copy.flush(); os.fsync(copy.fileno())
print(json.dumps(dict(copy=time.perf_counter() - start, peak=peak_mib())))
"""
_HDF5 = f"""
import json, os, sys, time
import numpy as np, h5py
{_MEMORY}
table = np.load(sys.argv[1] + ".npy")
start = time.perf_counter()
with h5py.File(sys.argv[2], "w") as file:
    for number, row in enumerate(table):
        file.create_dataset(str(number), data=row, compression="gzip", compression_opts=1, shuffle=True)
fd = os.open(sys.argv[2], os.O_RDONLY); os.fsync(fd)
print(json.dumps(dict(hdf5=time.perf_counter() - start, peak=peak_mib())))
"""


def _run(code: str, *arguments: str) -> dict[str, float]:
    ended = subprocess.run(
        [PYTHON, "-c", code, *arguments], env=clean_environ(), check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def spool_to_file(report: Report, rows: int, repeats: int) -> str:
    """Read the spool, work out the result, write the file. Returns the file's directory, for the table below."""
    directory = tempfile.mkdtemp(prefix="perun-benchmark-")
    kept = os.path.join(directory, "run.h5")
    found: dict[str, list[dict[str, float]]] = {}
    sizes: dict[str, int] = {}
    for units_invert in (False, True):
        parts = spool_of(os.path.join(directory, f"{units_invert}"), rows, units_invert)
        np.save(parts + ".npy", np.vstack([*counters(rows)[:2], counters(rows)[2]]))
        name = "ours" if units_invert else "ours, unknown units"
        codes = {name: _SAVE} if not units_invert else {name: _SAVE, "copied as it is": _COPY, "h5py, gzip 1": _HDF5}
        for _ in range(repeats):
            for what, code in codes.items():
                if os.path.exists(kept):
                    os.unlink(kept)
                found.setdefault(what, []).append(_run(code, parts, kept))
                sizes[what] = os.path.getsize(kept)
        if units_invert:
            os.unlink(kept)
            _run(_SAVE, parts, kept)
        shutil.rmtree(os.path.join(directory, f"{units_invert}"))
    _show_saving(report, rows, found, sizes)
    return directory


def _show_saving(report: Report, rows: int, found: dict[str, list[dict[str, float]]], sizes: dict[str, int]) -> None:
    lines = []
    for what, runs in found.items():
        steps = [name for name in runs[0] if name not in ("before", "peak")]
        total = spread([sum(run[step] for step in steps) for run in runs])
        each = ", ".join(f"{step} {spread([run[step] for run in runs]).median:.3f}" for step in steps)
        peak = spread([run["peak"] for run in runs]).median
        lines.append(
            (
                what,
                f"{total.median:.3f}",
                f"{total.low:.3f} to {total.high:.3f}",
                each,
                f"{peak:.0f}",
                f"{sizes[what] / 1e6:.1f}",
            )
        )
    columns = ["", "s", "95 % interval", "steps", "peak MiB", "MB"]
    report.table(f"from the spool to a saved file: {rows} samples of {SENSORS} counters at 1 kHz", columns, lines)
    totals = {
        what: [sum(v for k, v in run.items() if k not in ("before", "peak")) for run in runs]
        for what, runs in found.items()
    }
    seconds = spread(totals["ours"]).median
    share = rows / 1e6
    report.target("spool to saved file, a million samples", seconds / share, "s", at_most=0.4)
    report.target("the same to h5py with gzip 1", seconds / spread(totals["h5py, gzip 1"]).median, "x", at_most=1)
    peak = spread([run["peak"] for run in found["ours"]]).median * 2**20 / 1e6
    report.target("peak memory of that", peak, "MB", at_most=120)
    report.target("size of a million samples", sizes["ours"] / 1e6 / share, "MB", at_most=15)
    report.target("size where units don't invert", sizes["ours, unknown units"] / 1e6 / share, "MB", at_most=20)


def regions_among_samples(report: Report, calls: int, samples: int, repeats: int) -> None:
    """What regions add to the analysis of a run, beside looking their times up twice."""
    with_calls, without = _recording(samples, calls), _recording(samples, 0)
    from perun_like.monitoring.results import result_of

    t0_ns, raw = with_calls.hosts[0].streams[0].t0_ns, with_calls.hosts[0].streams[0].raw
    starts, stops = with_calls.hosts[0].regions[0].start_ns, with_calls.hosts[0].regions[0].stop_ns

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def measure() -> float:
            start = time.perf_counter()
            work()
            return time.perf_counter() - start

        return measure

    def look_up() -> object:
        a, b = np.searchsorted(t0_ns, starts), np.searchsorted(t0_ns, stops)
        return [(row[np.minimum(b, samples - 1)] - row[np.minimum(a, samples - 1)]).sum() for row in raw]

    measures = {
        "looked up, no more": timed(look_up),
        "the run without regions": timed(lambda: result_of(without)),
        "the run with regions": timed(lambda: result_of(with_calls)),
    }
    found = interleaved(measures, repeats)
    added = [b - a for a, b in zip(found["the run without regions"], found["the run with regions"], strict=True)]
    found["added by regions"] = added
    rows = [
        (what, f"{s.median * 1e3:.1f}", f"{s.low * 1e3:.1f} to {s.high * 1e3:.1f}")
        for what, s in ((w, spread(v)) for w, v in found.items())
    ]
    report.table(
        f"{calls} calls of 10 regions among {samples} samples of {SENSORS} counters", ["", "ms", "95 % interval"], rows
    )
    seconds = spread(added).median
    report.target("100,000 calls of regions", seconds * 1e5 / calls, "s", at_most=0.05)
    report.target(
        "the same to two look-ups a call", seconds / spread(found["looked up, no more"]).median, "x", at_most=8
    )


def _recording(samples: int, calls: int) -> Any:
    from perun_like.model.recording import HostRecording, Process, Recording, RegionCalls, Stream
    from perun_like.sampling.host import host_facts
    from perun_like.sensing.contract import Sensor

    t0_ns, t1_ns, raw = counters(samples)
    made = tuple(Sensor(**facts) for facts in sensors(True))
    stream = Stream("rapl", MS, made, t0_ns, t1_ns, raw, np.ones(raw.shape, bool))
    random, window_ns = np.random.default_rng(3), (START_NS + MS, int(t1_ns[-1]) - 2 * MS)
    lengths = random.integers(5_000, 300_000, calls)
    gaps = (window_ns[1] - window_ns[0]) // max(calls, 1)
    start_ns = window_ns[0] + np.arange(calls) * gaps
    of_calls = RegionCalls(
        pid=1,
        rank=0,
        names=tuple(f"region {number}" for number in range(10)),
        region=random.integers(0, 10, calls),
        thread=np.zeros(calls, np.int64),
        start_ns=start_ns,
        stop_ns=start_ns + lengths,
        resumed=np.zeros(calls, bool),
    )
    host = HostRecording(host_facts(), (stream,), (), (of_calls,) if calls else (), {})
    process = Process(0, 1, *window_ns, exit_code=0, cpu_s=1.0)
    return Recording("benchmark", "run", 0, window_ns, (host,), (process,), {})


_CSV = f"""
import sys, time
from perun_like.cli import main
{_MEMORY}
import json
start = time.perf_counter()
try:
    sys.argv = ["perun-like", "export", sys.argv[1], "csv", "--output", sys.argv[2]]
    main()
finally:
    print(json.dumps(dict(csv=time.perf_counter() - start, peak=peak_mib())))
"""
_CSV_MODULE = f"""
import csv, json, sys, time
import numpy as np
from perun_like.store.reader import read_recording
{_MEMORY}
start = time.perf_counter()
stream = read_recording(sys.argv[1]).hosts[0].streams[0]
columns = [(stream.t0_ns / 1e9).tolist(), *((row * 1e-6).tolist() for row in stream.raw)]
with open(sys.argv[2], "w", newline="") as file:
    csv.writer(file).writerows(zip(*columns))
print(json.dumps(dict(csv=time.perf_counter() - start, peak=peak_mib())))
"""


def table_as_csv(report: Report, rows: int, directory: str, repeats: int) -> None:
    """The command's whole work, start of Python included in memory but not in time."""
    path, output = os.path.join(directory, "run.h5"), os.path.join(directory, "run.csv")
    small = os.path.join(directory, "small")
    parts = spool_of(small, rows // 10, True)
    _run(_SAVE, parts, os.path.join(small, "run.h5"))
    codes = {
        "ours": (_CSV, path),
        "ours, a tenth of the rows": (_CSV, os.path.join(small, "run.h5")),
        "csv module": (_CSV_MODULE, path),
    }
    found: dict[str, list[dict[str, float]]] = {}
    sizes: dict[str, int] = {}
    for _ in range(repeats):
        for what, (code, source) in codes.items():
            found.setdefault(what, []).append(_run(code, source, output))
            sizes[what] = os.path.getsize(output)
    seconds = {what: spread([run["csv"] for run in runs]) for what, runs in found.items()}
    peaks = {what: spread([run["peak"] for run in runs]).median for what, runs in found.items()}
    lines = [
        (what, f"{s.median:.2f}", f"{s.low:.2f} to {s.high:.2f}", f"{peaks[what]:.0f}", f"{sizes[what] / 1e6:.0f}")
        for what, s in seconds.items()
    ]
    report.table(f"CSV of {rows} samples of {SENSORS} counters", ["", "s", "95 % interval", "peak MiB", "MB"], lines)
    report.target("CSV of a million samples", seconds["ours"].median / (rows / 1e6), "s", at_most=1)
    report.target("the same to the csv module", seconds["ours"].median / seconds["csv module"].median, "x", at_most=1)
    report.target("memory for ten times the rows", peaks["ours"] / peaks["ours, a tenth of the rows"], "x", at_most=1.1)


def main() -> None:
    """Measure and print tables."""
    report, given = begin(
        __doc__,
        rows=(1_000_000, 50_000, "samples to save"),
        repeats=(7, 1, "runs of each"),
        calls=(100_000, 10_000, "calls of regions"),
        samples=(36_000, 36_000, "samples among which they are"),
    )
    directory = spool_to_file(report, given.rows, given.repeats)
    try:
        regions_among_samples(report, given.calls, given.samples, 3 * given.repeats)
        table_as_csv(report, given.rows, directory, given.repeats)
    finally:
        shutil.rmtree(directory)
    report.close(given.json)


if __name__ == "__main__":
    main()
