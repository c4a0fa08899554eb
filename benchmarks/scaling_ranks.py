"""What it takes to put together a job of many hosts: time and peak memory, by the number of hosts.

    python benchmarks/scaling_ranks.py [--hosts 1,16,128,512] [--quick] [--master] [--json FILE]

Parts are synthetic and in the sampler's own format: on each host 8 ranks, six energy counters of varying power read at
10 Hz for an hour, two figures of the host read at 1 Hz, and two regions that each rank enters 500 times. Each phase is
a process of its own:

- ``host files``: every host's file from its part, one after the other. In a job each host does that for itself.
- ``merge``: the run's file from the host files: what one rank does.
- ``load``: reading the result.
- ``all at once``: what a merge takes the place of: one process that loads all samples (of up to 16 hosts).

``imports`` is the peak of a process that does nothing of it, and is in all of them. Up to a few ten hosts become one
file, which is made in memory; ``--master`` makes a master file of any number.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from harness import MS, Report, S, machine

RANKS_PER_HOST = 8
PERIOD_NS = 100 * MS
STARTED_UNIX_NS = 1_795_000_000 * S
UNIT_NJ, REGISTER = 61_035, 1 << 32
COUNTERS = ("package-0", "package-1", "core-0", "core-1", "dram-0", "dram-1")
CALLS = 500  # of each region on each rank
CENTRAL_HOSTS = 16  # more at once would need too much memory
QUICK_HOSTS = "2,24"


def generate(directory: str, hosts: int, rows: int) -> str:
    """Write the parts of a job's hosts; returns their directory."""
    from perun_like.store.place import RunPlace
    from perun_like.testing.parts import write_part

    place = RunPlace.claim_together(directory, "heat", None, f"{hosts} hosts")
    base = Base(rows)
    for number in range(hosts):
        write_part(place.part(f"node{number:04d}-sampler"), base.recording(number, hosts * RANKS_PER_HOST))
    place.unlock()
    return place.parts


class Base:
    """What all hosts have in common: increments and times, which each host starts from another point."""

    def __init__(self, rows: int) -> None:
        import numpy as np

        rng = np.random.default_rng(7)
        walk_w = np.clip(150 + rng.normal(0, 4, (len(COUNTERS), rows)).cumsum(axis=1), 20, 300)
        self.np, self.rows = np, rows
        self.jitter_ns = rng.integers(0, 60_000, rows)
        self.units = (walk_w * PERIOD_NS / UNIT_NJ * rng.uniform(0.95, 1.05, walk_w.shape)).astype(np.int64)

    def recording(self, number: int, size: int) -> Any:
        """What a host's sampler records; its CLOCK_MONOTONIC began an hour before that of the host before it."""
        from perun_like.model.recording import Recording

        start_ns = (5_000 + 3_600 * number) * S
        ranks = range(number * RANKS_PER_HOST, (number + 1) * RANKS_PER_HOST)
        settings = {"command": ["python", "heat.py"], "period_ns": PERIOD_NS, "settings": {}}
        processes = tuple(self.process(rank, number, start_ns) for rank in ranks)
        return Recording("heat", "", 0, (0, 0), (self.host(number, ranks, start_ns),), processes, settings, size)

    def host(self, number: int, ranks: Sequence[int], start_ns: int) -> Any:
        """Its streams and its ranks' calls."""
        from perun_like.model.recording import HostRecording

        begin = {"monotonic_ns": start_ns - S, "realtime_ns": STARTED_UNIX_NS - S, "boottime_ns": start_ns - S}
        end = {name: value + 3_600 * S for name, value in begin.items()}
        facts: dict[str, Any] = {"hostname": f"node{number:04d}", "boot_id": f"boot-{number}"}
        facts |= {"logical_cpus": 64, "clocks": [begin, end]}
        streams = (self.counters(number, start_ns), self.figures(number, start_ns))
        regions = tuple(self.calls(rank, start_ns) for rank in ranks)
        return HostRecording(facts, streams, (), regions, {"cpu_s": 9.5, "missed_ticks": number % 3})

    def counters(self, number: int, start_ns: int) -> Any:
        """Six RAPL counters of 32 bits."""
        from perun_like.model.recording import Stream
        from perun_like.sensing.contract import Sensor

        np, shift = self.np, 997 * number % self.rows
        t0_ns = start_ns - PERIOD_NS // 2 + np.arange(self.rows) * PERIOD_NS + np.roll(self.jitter_ns, shift)
        raw = (np.roll(self.units, shift, axis=1).cumsum(axis=1) + 31_337 * number) % REGISTER * UNIT_NJ // 1000
        modulus = (REGISTER - 1) * UNIT_NJ // 1000 + 61
        rapl = {"tick_ns": 976_563, "lag_ns": 50_000, "ceiling": 1e3, "accuracy": 0.02, "modulus": modulus}
        sensors = [
            Sensor(
                f"rapl:{name}", "rapl", "dram" if "dram" in name else "cpu", "energy", "counter", "J", 1e-6
            )._replace(
                domain=name[:-2],
                identity=name,
                parent=f"package{name[-2:]}" if "core" in name else None,
                source=f"/sys/class/powercap/{name}/energy_uj",
                **rapl,
            )
            for name in COUNTERS
        ]
        return Stream("rapl", PERIOD_NS, tuple(sensors), t0_ns, t0_ns + 25_000, raw, np.ones(raw.shape, bool))

    def figures(self, number: int, start_ns: int) -> Any:
        """The host's busy CPU time and used memory."""
        from perun_like.model.recording import Stream
        from perun_like.sensing.contract import Sensor

        np, step = self.np, S // PERIOD_NS
        t0_ns = start_ns - S // 2 + np.arange(self.rows // step + 2) * S
        busy = (t0_ns - t0_ns[0]) // (10 * MS) * (40 + number % 20)
        used = (64 << 30) + (np.arange(len(t0_ns)) % 61 << 24)
        sensors = (
            Sensor("host:cpu_busy", "host", "cpu", "cpu_busy", "counter", "s", 0.01, tick_ns=10 * MS, ceiling=64.0),
            Sensor("memory:used", "host", "memory", "memory_used", "gauge", "B"),
        )
        raw = np.stack([busy, used])
        return Stream("host", S, sensors, t0_ns, t0_ns + 80_000, raw, np.ones(raw.shape, bool))

    def calls(self, rank: int, start_ns: int) -> Any:
        """Two regions, one after the other, that take longer on later ranks."""
        from perun_like.model.recording import RegionCalls

        np, count = self.np, 2 * CALLS
        first_ns = start_ns + S + np.arange(count) * (self.rows * PERIOD_NS // (count + 40))
        return RegionCalls(
            pid=10_000 + rank,
            rank=rank,
            names=("solve", "exchange"),
            region=np.arange(count) % 2,
            thread=np.full(count, 140_000_000_000_000 + rank),
            start_ns=first_ns,
            stop_ns=first_ns + 2 * S // 3 * (1 + rank % RANKS_PER_HOST) // RANKS_PER_HOST,
            resumed=np.zeros(count, bool),
        )

    def process(self, rank: int, number: int, start_ns: int) -> Any:
        """A rank that ended well."""
        from perun_like.model.recording import Process

        stop_ns = start_ns + (self.rows - 5) * PERIOD_NS - rank % 5 * MS
        known = {"exit_code": 0, "cpu_s": (stop_ns - start_ns) / S * 4, "max_rss_b": 900 << 20}
        return Process(rank, 10_000 + rank, start_ns + rank % 3 * MS, stop_ns, host=f"boot-{number}", **known)


def phase_imports(_: str) -> dict[str, Any]:
    """Only what every phase needs."""
    from perun_like.monitoring import saving  # noqa: F401

    return {}


def phase_hosts(parts: str) -> dict[str, Any]:
    """All host files, one after the other."""
    from perun_like.monitoring import host_files
    from perun_like.store.place import RunPlace

    summaries = host_files.complete(RunPlace.of_parts(parts)) or []
    sizes = [os.path.getsize(path) for path in found(parts, ".summary")]
    return {"host_file_b": sum(each.file.stamp.size_b for each in summaries), "summary_b": sum(sizes)}


def phase_master(parts: str) -> dict[str, Any]:
    """A master file, however few the hosts."""
    from perun_like.store import gather

    gather.MOST_HOSTS = 0
    return phase_merge(parts)


def phase_merge(parts: str) -> dict[str, Any]:
    """The run's file."""
    from perun_like.monitoring import saving
    from perun_like.store.place import RunPlace

    _, path = saving.save_job(RunPlace.of_parts(parts))
    return {"path": path, "file_b": os.path.getsize(path)}


def phase_load(path: str) -> dict[str, Any]:
    """The result."""
    from perun_like.store.reader import load

    return {"hosts": len(load(path).nodes[0].nodes[0].nodes)}


def phase_central(parts: str) -> dict[str, Any]:
    """All samples in one process."""
    from perun_like.monitoring.results import result_of
    from perun_like.store.assembly import assemble
    from perun_like.store.writer import write

    recording = assemble(parts)
    path = os.path.join(parts, "central.h5")
    write(path, recording, result_of(recording))
    os.unlink(path)
    return {}


PHASES = {
    "imports": phase_imports,
    "hosts": phase_hosts,
    "merge": phase_merge,
    "master": phase_master,
    "load": phase_load,
    "central": phase_central,
}


def found(directory: str, suffix: str) -> list[str]:
    """Files in a directory."""
    return [os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(suffix)]


def measured(phase: str, argument: str) -> dict[str, Any]:
    """Run a phase in a process of its own; with its time and its peak memory."""
    command = [sys.executable, os.path.abspath(__file__), "--phase", phase, argument]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def be_measured(phase: str, argument: str) -> None:
    """Be that process."""
    from perun_like.sampling.host import peak_memory_b

    phase_imports("")
    start = time.perf_counter()
    content = PHASES[phase](argument)
    print(json.dumps({"s": time.perf_counter() - start, "peak_b": peak_memory_b(), **content}))


def one_size(directory: str, hosts: int, rows: int, merge: str) -> dict[str, Any]:
    """All phases of a job of so many hosts."""
    parts = generate(directory, hosts, rows)
    row: dict[str, Any] = {"hosts": hosts, "parts_b": sum(os.path.getsize(path) for path in found(parts, ".part"))}
    if hosts <= CENTRAL_HOSTS:
        row["central"] = measured("central", parts)
    if hosts > 1:
        row["host files"] = measured("hosts", parts)
    row["merge"] = measured(merge, parts)
    row["load"] = measured("load", row["merge"]["path"])
    return row


def mib(figure: float) -> str:
    """A peak of memory."""
    return f"{figure / (1 << 20):.0f}"


# Title, phase (None: of no phase), and what stands there.
COLUMNS: list[tuple[str, str | None, Callable[[dict[str, Any], int], str]]] = [
    ("hosts", None, lambda _, hosts: f"{hosts}"),
    ("ranks", None, lambda _, hosts: f"{hosts * RANKS_PER_HOST}"),
    ("a host: part MB", None, lambda row, hosts: f"{row['parts_b'] / hosts / 1e6:.1f}"),
    ("file kB", "host files", lambda of, hosts: f"{of['host_file_b'] / hosts / 1e3:.0f}"),
    ("summary kB", "host files", lambda of, hosts: f"{of['summary_b'] / hosts / 1e3:.1f}"),
    ("made in s", "host files", lambda of, hosts: f"{of['s'] / hosts:.3f}"),
    ("peak MiB", "host files", lambda of, _: mib(of["peak_b"])),
    ("merge: s", "merge", lambda of, _: f"{of['s']:.2f}"),
    ("peak MiB", "merge", lambda of, _: mib(of["peak_b"])),
    ("file MB", "merge", lambda of, _: f"{of['file_b'] / 1e6:.1f}"),
    ("load: s", "load", lambda of, _: f"{of['s']:.2f}"),
    ("peak MiB", "load", lambda of, _: mib(of["peak_b"])),
    ("all at once: s", "central", lambda of, _: f"{of['s']:.2f}"),
    ("peak MiB", "central", lambda of, _: mib(of["peak_b"])),
]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table; what wasn't measured is a dash."""
    return [
        text(row if phase is None else row[phase], row["hosts"]) if phase is None or phase in row else "-"
        for _, phase, text in COLUMNS
    ]


def more(rows: Sequence[dict[str, Any]], phase: str) -> float:
    """By how much a phase's peak grows with a host more, in percent of what the samples of that host take."""
    first, last = ([row for row in rows if phase in row][end] for end in (0, -1))
    return float(100 * (last[phase]["peak_b"] - first[phase]["peak_b"]) / (last["parts_b"] - first["parts_b"]))


def targets(report: Report, rows: Sequence[dict[str, Any]]) -> None:
    """Compare with what is wanted."""
    several = [row for row in rows if "host files" in row]
    summary_b = max(row["host files"]["summary_b"] / row["hosts"] for row in several)
    report.target("summary of a host", summary_b / 1e3, "kB", at_most=8)
    report.target("merge of most hosts", rows[-1]["merge"]["s"], "s", at_most=5)
    for phase in ("merge", "host files") if len(several) > 1 else ():
        report.target(f"{phase}: memory for a host more to its samples", more(several, phase), "%", at_most=10)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", help=f"numbers of hosts (default: 1,16,128; {QUICK_HOSTS} with --quick)")
    parser.add_argument("--rows", type=int, default=36_000, help="reads of each counter (default: an hour at 10 Hz)")
    parser.add_argument("--directory", help="where to write; on a disk with 4 MB for each host")
    parser.add_argument("--master", action="store_true", help="never one file of all hosts")
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that it works, with --master")
    parser.add_argument("--json", metavar="FILE", help="write the targets there too")
    parser.add_argument("--phase", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        be_measured(*options.phase)
        return
    print(machine())
    report, merge = Report("scaling_ranks.py"), "master" if options.master or options.quick else "merge"
    rows: list[dict[str, Any]] = []
    for hosts in map(int, (options.hosts or (QUICK_HOSTS if options.quick else "1,16,128")).split(",")):
        directory = tempfile.mkdtemp(dir=options.directory)
        try:
            rows.append(one_size(directory, hosts, options.rows, merge))
        finally:
            shutil.rmtree(directory)
    title = f"a job of many hosts, by their number (imports: {mib(measured('imports', '')['peak_b'])} MiB)"
    report.table(title, [name for name, _, _ in COLUMNS], [cells(row) for row in rows])
    targets(report, rows)
    report.close(options.json)


if __name__ == "__main__":
    main()
