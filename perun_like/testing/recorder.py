"""Samples of a simulated machine without any process or file: input for tests of an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeAlias

import numpy as np

from perun_like.errors import InputError
from perun_like.model.recording import Stream
from perun_like.sensing.contract import COUNTER, Sensor
from perun_like.testing.clock import ManualClock
from perun_like.testing.machine import Machine, Zone

_GROUPS = {"dram": "dram", "psys": "platform"}
_CEILING_W = 2000.0  # of a zone without constraints
_Sweep: TypeAlias = tuple[int, int, list[int | None]]  # time before, time after, values
UNREAD = -1  # stands where nothing was read: no counter shows it, so an analysis that uses it is found out


def sensors_of(machine: Machine, paths: Sequence[str] | None = None) -> tuple[Sensor, ...]:
    """The sensors that a perfectly informed backend would find, in the order of ``paths`` (default: all)."""
    return tuple(_sensor(machine, zone) for zone in _zones(machine, paths))


def record(
    machine: Machine,
    start_ns: int,
    stop_ns: int,
    *,
    period_ns: int = 100_000_000,
    jitter_ns: int = 0,
    read_ns: int = 5_000,
    dropped: float = 0.0,
    paths: Sequence[str] | None = None,
    seed: int = 0,
) -> Stream:
    """Sample a machine on a time grid, as the sampler would.

    Args:
        machine: What is read. A zone's faults make reads invalid or slow.
        start_ns: CLOCK_MONOTONIC of the grid's first point.
        stop_ns: … after which no sweep starts. The last one is on the last grid point up to then.
        period_ns: Distance of grid points. Points that pass during a slow sweep are skipped.
        jitter_ns: A sweep starts up to this much late, evenly distributed.
        read_ns: Time that the read of one zone takes; the value is that of a random instant within it.
        dropped: Probability of a single read to fail.
        paths: Zones to read, in this order; all if not given.
        seed: Of jitter, instants and drops.

    Returns:
        Sweeps with the sensors of :func:`sensors_of`; ``raw`` is -1 where it isn't valid.
    """
    if period_ns <= 0:
        raise InputError(f"period_ns={period_ns} must be positive")
    random = Random(seed)  # noqa: S311 - must be repeatable, not secret
    sensors = sensors_of(machine, paths)
    zones = _zones(machine, paths)
    clock = ManualClock(start_ns)
    sweeps: list[_Sweep] = []
    for grid_ns in range(start_ns, stop_ns + 1, period_ns):
        late_ns = grid_ns - clock() + random.randint(0, jitter_ns)
        if sweeps and grid_ns < clock():
            continue  # the sweep before took until after this point
        t0_ns = clock.advance(late_ns)
        values = [_read(zone, machine, clock, read_ns, random) for zone in zones]
        kept = [None if random.random() < dropped else value for value in values]
        sweeps.append((t0_ns, clock(), kept))
    return _stream(sensors, period_ns, sweeps)


def _zones(machine: Machine, paths: Sequence[str] | None) -> Sequence[Zone]:
    return machine.zones if paths is None else [machine.zone(path) for path in paths]


def _read(zone: Zone, machine: Machine, clock: ManualClock, read_ns: int, random: Random) -> int | None:
    """One read that starts now; the clock moves on to its end."""
    before_ns = random.randint(0, read_ns)
    now_ns = clock.advance(before_ns) - machine.origin_ns
    now_ns = clock.advance(zone.delay_ns(now_ns)) - machine.origin_ns
    clock.advance(read_ns - before_ns)
    if not zone.readable:
        return None
    try:
        return int(zone.text(now_ns))
    except (OSError, ValueError):
        return None


def _stream(sensors: tuple[Sensor, ...], period_ns: int, sweeps: list[_Sweep]) -> Stream:
    shape = (len(sensors), len(sweeps))
    raw = np.full(shape, UNREAD, dtype=np.int64)
    valid = np.zeros(shape, dtype=np.bool_)
    for column, (_, _, values) in enumerate(sweeps):
        for row, value in enumerate(values):
            if value is not None:
                raw[row, column] = value
                valid[row, column] = True
    t0_ns = np.array([t0 for t0, _, _ in sweeps], dtype=np.int64)
    t1_ns = np.array([t1 for _, t1, _ in sweeps], dtype=np.int64)
    return Stream("rapl", period_ns, sensors, t0_ns, t1_ns, raw, valid)


def _sensor(machine: Machine, zone: Zone) -> Sensor:
    domain = zone.name.split("-", 1)[0]
    identity = _identity(machine, zone)
    mmio = "mmio:" if zone.control_type.endswith("mmio") else ""
    return Sensor(
        id=f"rapl:{mmio}{identity}",
        backend="rapl",
        group=_GROUPS.get(domain, "cpu"),
        quantity="energy",
        kind=COUNTER,
        unit="J",
        scale=1e-6,
        # A register of 2^n units wraps at 2^n units; the kernel's rounding leaves that less than 1 uJ off.
        modulus=(1 << zone.register_bits) * zone.unit_nj // 1000,
        resolution=-(-zone.unit_nj // 1000),
        tick_ns=zone.tick_ns,
        lag_ns=zone.lag_ns,
        ceiling=_CEILING_W if zone.max_power_w is None else zone.max_power_w,
        domain=domain,
        identity=identity,
        parent=_parent(machine, zone, domain),
        source=f"simulated {zone.path}/energy_uj",
    )


def _identity(machine: Machine, zone: Zone) -> str:
    """What is counted, whichever interface it is read through: ``package-0``, ``package-0/core``."""
    return zone.name if zone.parent is None else f"{machine.zone(zone.parent).name}/{zone.name}"


def _parent(machine: Machine, zone: Zone, domain: str) -> str | None:
    """What contains it. Memory is listed inside its package, but isn't part of it; a platform contains packages."""
    if domain in ("dram", "psys"):
        return None
    if zone.parent is not None:
        return machine.zone(zone.parent).name
    return next((other.name for other in machine.zones if other.name == "psys"), None)
