"""Recordings made in the test itself: of the simulated machine, and of counters whose truth is a formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from perun_like.model.recording import HostRecording, Process, Recording, RegionCalls, Rounds, Stream
from perun_like.sensing.contract import COUNTER, GAUGE, Missing, Sensor
from perun_like.testing import machines
from perun_like.testing.machine import Machine
from perun_like.testing.recorder import record

S = 1_000_000_000
MS = 1_000_000
BOOT = 1_000 * S
WINDOW = (BOOT + 500 * MS, BOOT + 2_500 * MS)
SERVER = machines.two_socket_server().starting_at(BOOT)
_COLUMNS = ("t0_ns", "t1_ns", "raw", "valid")
ADDED = ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:2", "intel-rapl:1:2")  # packages and dram


def rapl(machine: Machine = SERVER, *, period_ns: int = 100 * MS, **options: Any) -> Stream:
    """The machine's counters as a sampler reads them: at once before the run, on its grid, and at once after it."""
    before_ns = WINDOW[0] - 3 * MS
    grid = record(machine, before_ns - period_ns, WINDOW[1], period_ns=period_ns, **options)
    last = record(machine, WINDOW[1] + 2 * MS, WINDOW[1] + 2 * MS + 20 * MS, period_ns=20 * MS, **options)
    joined = {name: np.concatenate([getattr(part, name) for part in (grid, last)], axis=-1) for name in _COLUMNS}
    return grid._replace(**joined)


def truth_j(paths: Sequence[str] = ADDED, window: tuple[int, int] = WINDOW, machine: Machine = SERVER) -> float:
    return sum(machine.truth_j(path, *window) for path in paths)


def stream(sensors: Sequence[Sensor], at_ns: Sequence[int], shown: Callable[[Sensor, int], int | None]) -> Stream:
    """Instantaneous reads of sensors that show a function of time."""
    values = [[shown(sensor, t) for t in at_ns] for sensor in sensors]
    t_ns = np.array(at_ns, np.int64)
    raw = np.array([[0 if v is None else v for v in row] for row in values], np.int64).reshape(len(sensors), -1)
    valid = np.array([[v is not None for v in row] for row in values], np.bool_).reshape(raw.shape)
    period_ns = int(np.diff(t_ns).min()) if len(t_ns) > 1 else S
    return Stream(sensors[0].backend, period_ns, tuple(sensors), t_ns, t_ns, raw, valid)


def cpu_busy(load: float, cpus: int = 4, *, hz: int = 100, every_ns: int = S) -> Stream:
    """The host's busy CPU time at a load of so many CPUs, in kernel ticks, read once a second."""
    sensor = Sensor("host:cpu_busy", "host", "cpu", "cpu_busy", COUNTER, "s", 1 / hz, tick_ns=10 * MS, ceiling=cpus)
    at_ns = [BOOT + 490 * MS, *range(BOOT + 600 * MS, BOOT + 2_500 * MS, every_ns), BOOT + 2_520 * MS]
    return stream([sensor], at_ns, lambda _, t: int(t / S * load * hz))


def traffic() -> Stream:
    quantities = {"disk_read": "disk", "disk_written": "disk", "net_recv": "network", "net_sent": "network"}
    sensors = [Sensor(f"host:{q}", "host", g, q, COUNTER, "B", resolution=1) for q, g in quantities.items()]
    at_ns = [BOOT + 490 * MS, BOOT + 1_500 * MS, BOOT + 2_520 * MS]
    return stream(sensors, at_ns, lambda s, t: (t // MS) * (list(quantities).index(s.quantity) + 1))


def processes(rss: Sequence[int], cpu_ticks: Sequence[int], count: int = 1, peak: int = 0) -> Stream:
    sensors = [
        Sensor("processes:cpu_time", "processes", "application", "cpu_time", COUNTER, "s", 0.01),
        Sensor("processes:rss", "processes", "application", "memory_rss", GAUGE, "B"),
        Sensor("processes:rss_peak", "processes", "application", "memory_rss_peak", GAUGE, "B"),
        Sensor("processes:count", "processes", "application", "processes", GAUGE, "1"),
    ]
    at_ns = [WINDOW[0] + k * (WINDOW[1] - WINDOW[0]) // len(rss) for k in range(len(rss))]
    rows = dict(zip((s.id for s in sensors), (cpu_ticks, rss, [peak] * len(rss), [count] * len(rss)), strict=True))
    return stream(sensors, at_ns, lambda s, t: rows[s.id][at_ns.index(t)])


def calls(intervals: Sequence[tuple[str, int, int]], rank: int = 0, **facts: Any) -> RegionCalls:
    """Calls of regions by name, start and end in ns after the window's start."""
    names = tuple(dict.fromkeys(name for name, _, _ in intervals))
    columns = [[names.index(n) for n, _, _ in intervals], *([WINDOW[0] + i[k] for i in intervals] for k in (1, 2))]
    region, start_ns, stop_ns = (np.array(column, np.int64) for column in columns)
    resumed = facts.pop("resumed", np.zeros(len(intervals), np.bool_))
    thread = np.zeros(len(intervals), np.int64)
    return RegionCalls(100 + rank, rank, names, region, thread, start_ns, stop_ns, resumed, **facts)


def host(*streams: Stream, name: str = "node1", **facts: Any) -> HostRecording:
    known = {"hostname": name, "boot_id": f"boot of {name}", "logical_cpus": 4, **facts.pop("host", {})}
    missing: tuple[Missing, ...] = facts.pop("missing", ())
    regions: tuple[RegionCalls, ...] = facts.pop("regions", ())
    stats = facts.pop("stats", {"cpu_s": 0.03, "missed_ticks": 2})
    return HostRecording(known, streams, missing, regions, stats, **facts)


def process(rank: int = 0, **facts: Any) -> Process:
    return Process(rank, 100 + rank, *WINDOW, **{"exit_code": 0, "cpu_s": 1.5, "max_rss_b": 60 << 20, **facts})


def recording(*hosts: HostRecording, processes: Sequence[Process] | None = None, **facts: Any) -> Recording:
    known = {"command": ["python", "heat.py"], "period_ns": 100 * MS}
    ended = (process(),) if processes is None else tuple(processes)
    window_ns = facts.pop("window_ns", WINDOW)
    return Recording("heat", "run-1", 1_790_000_000 * S, window_ns, hosts, ended, known)


def number(figure: float | None) -> float:
    """A figure that must be there."""
    assert figure is not None
    return figure


def rounds(*intervals: Sequence[tuple[int, int]], rank: int = 0, **facts: Any) -> Rounds:
    """What was measured in place: the intervals of each round in ns after the window's start."""
    owner = np.repeat(np.arange(len(intervals)), [len(each) for each in intervals])
    edges = np.array([interval for each in intervals for interval in each], np.int64).reshape(-1, 2) + WINDOW[0]
    unasked = np.full(len(intervals), -1)
    columns = {
        name: np.array(facts.pop(name, unasked), np.int64) for name in ("cpu_ns", "peak_before_b", "peak_after_b")
    }
    failed = np.array(facts.pop("failed", np.zeros(len(intervals))), np.uint8)
    pid = facts.pop("pid", 100 + rank)
    return Rounds("work", pid, rank, owner, edges[:, 0].copy(), edges[:, 1].copy(), failed=failed, **columns, **facts)


def in_place(*hosts: HostRecording, ranks: int = 1) -> Recording:
    """A recording of a function; its process was there before and after."""
    marked = [each for one in hosts for each in one.rounds]
    hull = min(int(each.start_ns.min()) for each in marked), max(int(each.stop_ns.max()) for each in marked)
    unknown = {"exit_code": None, "cpu_s": None, "max_rss_b": None, "in_place": True}
    return recording(*hosts, processes=[process(rank, **unknown) for rank in range(ranks)], window_ns=hull)


def repeated(*intervals: tuple[int, int], made: HostRecording, **facts: Any) -> Recording:
    """A recording of a program that was repeated: each round's start and end in ns after the window's start."""
    each = [
        process(**facts)._replace(pid=100 + k, start_ns=WINDOW[0] + a, stop_ns=WINDOW[0] + b, round=k)
        for k, (a, b) in enumerate(intervals)
    ]
    return recording(made, processes=each, window_ns=(each[0].start_ns, each[-1].stop_ns))
