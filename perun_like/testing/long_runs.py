"""Runs of days within seconds: what counters show at millions of instants, and the part that a sampler makes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from perun_like.model.recording import Int64s
from perun_like.sampling import spool
from perun_like.sampling.spool import Part
from perun_like.sensing.contract import Sensor
from perun_like.testing.machine import Machine, Zone
from perun_like.testing.power import UW_PER_W, RandomWalk
from perun_like.testing.recorder import sensors_of

FRAME_NS = 30 * 10**9  # what is moved at once
STEP_NS = 700_000_000
_FJ_PER_NJ = 10**6


def long_machine(sockets: int = 2, register_bits: int = 32, origin_ns: int = 0) -> Machine:
    """Packages with core and memory, whose power changes every 0.7 s: :func:`counters_at` knows what they show."""

    def zone(path: str, name: str, lo_w: float, hi_w: float, seed: int, **options: Any) -> Zone:
        power = RandomWalk(lo_w, hi_w, STEP_NS, seed, stride_w=(hi_w - lo_w) / 3)
        return Zone(path, name, power, register_bits=register_bits, **options)

    zones: list[Zone] = []
    for n in range(sockets):
        path = f"intel-rapl:{n}"
        zones.append(zone(path, f"package-{n}", 40, 280, 3 * n, start_uj=3_000_000, max_power_w=300))
        zones.append(zone(f"{path}:0", "core", 20, 180, 3 * n + 1, max_power_w=300))
        zones.append(zone(f"{path}:1", "dram", 4, 40, 3 * n + 2, unit_nj=15_300, max_power_w=60))
    return Machine(zones, origin_ns)


def counters_at(zone: Zone, t_ns: Int64s) -> Int64s:
    """What a zone of :func:`long_machine` shows at instants since the machine's origin, in microjoules.

    The same as ``zone.counter_uj`` for each of them, to the last digit: whole numbers only.
    """
    seen_ns = t_ns - zone.lag_ns
    seen_ns -= seen_ns % zone.tick_ns
    steps, which = np.unique(seen_ns // STEP_NS, return_inverse=True)
    unit_fj = zone.unit_nj * _FJ_PER_NJ
    starts = [divmod(zone.power.total_fj(int(step) * STEP_NS), unit_fj) for step in steps]
    before, rest_fj = (np.array(column, np.int64)[which] for column in zip(*starts, strict=True))
    uw = np.array([round(zone.power.power_w(int(step) * STEP_NS) * UW_PER_W) for step in steps], np.int64)[which]
    counts = before + (rest_fj + uw * (seen_ns % STEP_NS)) // unit_fj + zone.start_uj * 1000 // zone.unit_nj
    shown: Int64s = (counts & ((1 << zone.register_bits) - 1)) * zone.unit_nj // 1000
    return shown


def sweeps(
    machine: Machine, start_ns: int, stop_ns: int, period_ns: int, seed: int = 0
) -> Iterator[tuple[Int64s, Int64s, Int64s]]:
    """What a sampler reads of a machine in days, a few thousand sweeps at a time.

    Sweeps are 20 to 150 us late, take 10 to 20 us, and one zone is read after the other. The last one is at the stop.

    Yields:
        Times just before and after each sweep, CLOCK_MONOTONIC, and raw values, shape (zones, sweeps).
    """
    random = np.random.default_rng(seed)
    for first_ns in range(start_ns, stop_ns, 20 * FRAME_NS):
        grid_ns = np.arange(first_ns, min(first_ns + 20 * FRAME_NS, stop_ns), period_ns, dtype=np.int64)
        if first_ns + 20 * FRAME_NS >= stop_ns > grid_ns[-1] + 1_000_000:
            grid_ns = np.append(grid_ns, stop_ns)
        t0_ns = grid_ns + random.integers(20_000, 150_000, len(grid_ns))
        took_ns = random.integers(10_000, 20_000, len(grid_ns))
        read_ns = [t0_ns + took_ns * n // len(machine.zones) - machine.origin_ns for n in range(len(machine.zones))]
        raw = np.stack([counters_at(zone, at) for zone, at in zip(machine.zones, read_ns, strict=True)])
        yield t0_ns, t0_ns + took_ns, raw


def long_part(
    path: str, machine: Machine, window_ns: tuple[int, int], period_ns: int, clocks: Sequence[dict[str, int]]
) -> None:
    """Write the part of a run of days, as it is when its sampler has ended.

    Args:
        path: The file.
        machine: Of :func:`long_machine`.
        window_ns: When the application ran, CLOCK_MONOTONIC: sampled from a tenth of a second before to one after.
        period_ns: Of the samples.
        clocks: The host's at the beginning and at the end.
    """
    sensors = sensors_of(machine)
    start_ns, stop_ns = window_ns
    part = Part(path)
    run = {"name": "long", "run_id": "long", "size": 1, "metadata": {}}
    host = {"hostname": "node01", "boot_id": "simulated", "logical_cpus": 2}
    part.write_json(spool.HEADER, {"run": run, "local": "", "marks": None, "host": host, "clocks": clocks[0]})
    part.write_json(spool.STREAM, stream_facts("rapl", sensors, period_ns))
    process = {"rank": 0, "pid": 1, "start_ns": start_ns, "stop_ns": stop_ns, "exit_code": 0}
    part.write_json(spool.NOTE, {"process": process})
    margin_ns, sequence = 100_000_000, 0
    for t0_ns, t1_ns, raw in sweeps(machine, start_ns - margin_ns, stop_ns + margin_ns, period_ns):
        masks = np.full(len(t0_ns), (1 << len(sensors)) - 1)
        table = np.column_stack([t0_ns, t1_ns, masks, raw.T]).astype("<i8")
        rows = FRAME_NS // period_ns
        for first in range(0, len(table), rows):
            sequence += 1
            part.write(spool.ROWS, table[first : first + rows].tobytes(), 0, sequence)
    part.write_json(spool.FOOTER, {"stats": {}, "clocks": clocks[1], "cut": None, "ranks": [0]})
    part.close()


def stream_facts(backend: str, sensors: Sequence[Sensor], period_ns: int) -> dict[str, Any]:
    """What a part says of a stream before its rows."""
    return {"backend": backend, "period_ns": period_ns, "sensors": [sensor._asdict() for sensor in sensors]}
