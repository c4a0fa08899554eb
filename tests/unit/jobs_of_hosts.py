"""Jobs of several hosts: clocks that began at different times, counters of different power, ranks that mark regions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from perun_like.model.recording import HostRecording, Process, Recording, RegionCalls, Stream
from perun_like.sensing.contract import COUNTER, GAUGE, Missing, Sensor
from perun_like.store.place import RunPlace
from perun_like.testing.parts import write_part

S, MS = 1_000_000_000, 1_000_000
STARTED_UNIX_NS = 1_795_000_000 * S
BOOTED_NS = 5_000 * S  # on the first host, CLOCK_MONOTONIC at the job's start; later by an hour on each other one
SETTINGS = {"command": ["python", "heat.py"], "period_ns": 100 * MS, "settings": {"warmup": 0, "price": [0.3, "EUR"]}}


def start_ns(number: int) -> int:
    """When the job starts, on a host's own clock."""
    return BOOTED_NS + number * 3_600 * S


def counters(number: int, sweeps: int, count: int = 2, group: str = "package") -> Stream:
    """Energy counters of varying power in microjoules, read every 100 ms, some of the reads without success."""
    rng = np.random.default_rng([number, len(group)])
    t0_ns = start_ns(number) - 250 * MS + np.arange(sweeps) * 100 * MS + rng.integers(0, MS, sweeps)
    power_w = 40 + 200 * rng.random((count, sweeps)).cumsum(axis=1) % 160
    energy_uj = (power_w * np.diff(t0_ns, prepend=t0_ns[0]) / 1e3).cumsum(axis=1).astype(np.int64)
    valid = rng.random((count, sweeps)) > 0.02
    sensors = tuple(
        Sensor(f"rapl:{group}-{row}", "rapl", "cpu", "energy", COUNTER, "J", 1e-6, 1 << 50, tick_ns=MS, ceiling=1e3)
        ._replace(domain="package", identity=f"{group}-{row}", accuracy=0.02)
        for row in range(count)
    )  # fmt: skip
    return Stream("rapl", 100 * MS, sensors, t0_ns, t0_ns + 30_000, energy_uj + number, valid)


def of_host(number: int, seconds: float) -> Stream:
    """The host's busy CPU time and used memory, read once a second."""
    sensors = (
        Sensor("host:cpu_busy", "host", "cpu", "cpu_busy", COUNTER, "s", 0.01, tick_ns=10 * MS, ceiling=8),
        Sensor("host:used", "host", "memory", "memory_used", GAUGE, "B"),
    )
    t0_ns = start_ns(number) - 200 * MS + np.arange(int(seconds) + 3) * S
    busy = ((t0_ns - start_ns(0)) // MS * (3 + number) // 10).astype(np.int64)
    used = (1 << 30) + (np.arange(len(t0_ns)) % 7 * (number + 1) << 20)
    return Stream("host", S, sensors, t0_ns, t0_ns + 9_000, np.stack([busy, used]), np.ones((2, len(t0_ns)), bool))


def calls(rank: int, number: int, seconds: float) -> RegionCalls:
    """Calls of two regions one after the other, longer on later ranks."""
    count = 12
    first_ns = start_ns(number) + 10 * MS + np.arange(count) * int(seconds * S / 14)
    return RegionCalls(
        pid=1_000 + rank,
        rank=rank,
        names=("solve", "exchange"),
        region=np.arange(count) % 2,
        thread=np.full(count, 140_000_000_000_000 + rank),
        start_ns=first_ns,
        stop_ns=first_ns + int(seconds * S / 40) + rank * 3 * MS,
        resumed=np.zeros(count, bool),
        lost_calls={"solve": rank} if rank else {},
    )


def process(rank: int, number: int, seconds: float, **facts: Any) -> Process:
    begin_ns, boot_id = start_ns(number) + rank % 3 * MS, f"boot-{number}"
    known: dict[str, Any] = {"exit_code": 0, "cpu_s": seconds * (0.5 + rank / 50), "max_rss_b": (50 + rank) << 20}
    stop_ns = start_ns(number) + int(seconds * S) - rank % 2 * MS
    return Process(rank, 1_000 + rank, begin_ns, stop_ns, **{**known, "host": boot_id, **facts})


def host(number: int, *streams: Stream, regions: Sequence[RegionCalls] = (), **facts: Any) -> HostRecording:
    begin_ns = start_ns(number) - S
    pairs = [
        {"monotonic_ns": at_ns, "realtime_ns": at_ns - start_ns(number) + STARTED_UNIX_NS, "boottime_ns": at_ns}
        for at_ns in (begin_ns, begin_ns + 60 * S)
    ]
    known = {"hostname": f"node{number}", "boot_id": f"boot-{number}", "logical_cpus": 8, "clocks": pairs}
    missing = (Missing("nvml", "GPUs", "no driver", "install it"),)
    stats = {"cpu_s": 0.02 + number / 1e3, "missed_ticks": number}
    return HostRecording(known, streams, missing, tuple(regions), stats, **facts)


def part_of(number: int, ranks: Sequence[int], size: int, seconds: float = 4.0, **facts: Any) -> Recording:
    """What the sampler of a host records of its ranks."""
    sweeps = int(seconds * 10) + 8
    regions = [calls(rank, number, seconds) for rank in ranks]
    made = host(number, counters(number, sweeps), of_host(number, seconds), regions=regions, **facts)
    processes = tuple(process(rank, number, seconds) for rank in ranks)
    return Recording("heat", "", 0, (0, 0), (made,), processes, SETTINGS, size)


def devices_of(number: int, size: int, seconds: float = 4.0) -> Recording:
    """What a second sampler of a host records: devices that the first can't see, and no ranks."""
    made = host(number, counters(number, int(seconds * 10) + 8, 1, "hidden"))
    return Recording("heat", "", 0, (0, 0), (made,), (), SETTINGS, size)


def job(directory: Any, parts: Sequence[tuple[int, Recording]], run_id: str = "") -> RunPlace:
    """A job's directory of parts in the place that an application's results go to; its ranks have all ended."""
    output = os.path.join(str(directory), "results")
    place = RunPlace.claim_together(output, "heat", run_id or None, "job 7")
    for order, (number, recording) in enumerate(parts):
        name = f"node{number}-sampler-{order:02d}"
        complete = recording.hosts[0].cut is None
        write_part(place.part(name), recording._replace(run_id=run_id), complete=complete)
    return place


def usual(hosts: int = 3, per_host: int = 2, seconds: float = 4.0, **facts: Any) -> list[tuple[int, Recording]]:
    """Hosts with so many ranks each; later hosts have the first ranks."""
    size = hosts * per_host
    ranks = [range(first, first + per_host) for first in range(0, size, per_host)]
    return [(n, part_of(n, ranks[hosts - 1 - n], size, seconds, **facts)) for n in range(hosts)]
