"""Recordings to store: sweeps of counters with a truth that is made here, not by the code under test."""

from __future__ import annotations

from typing import Any

import numpy as np
from report_trees import measured

from perun_like.model.node import DataNode
from perun_like.model.recording import HostRecording, Process, Recording, RegionCalls, Rounds, Stream
from perun_like.sensing.contract import Missing, Sensor

UNIT_NJ = 61_035
REGISTER = 1 << 32
RANGE_UJ = (REGISTER - 1) * UNIT_NJ // 1000


def rapl_sensor(name: str = "package-0") -> Sensor:
    facts = {"quantity": "energy", "kind": "counter", "unit": "J", "scale": 1e-6, "domain": "package"}
    return Sensor(f"rapl:{name}", "rapl", "cpu", modulus=RANGE_UJ + 61, tick_ns=976_000, ceiling=1e3, **facts)


def rapl_stream(sweeps: int, counters: int = 2, first_unit: int = 0, seed: int = 1) -> Stream:
    """Counters of 32 bits in units of 61.035 uJ, shown in uJ: a square wave and random walks up to 300 W, noisy."""
    rng = np.random.default_rng(seed)
    lateness_ns = (20_000 + rng.gamma(2.0, 15_000, sweeps)).astype(np.int64)
    t0_ns = 5_000_000_000 + np.arange(sweeps) * 1_000_000 + lateness_ns
    t1_ns = t0_ns + (15_000 + rng.gamma(2.0, 1_500, sweeps)).astype(np.int64)
    ticks_ns = t0_ns // 976_000 * 976_000
    raw = np.empty((counters, sweeps), np.int64)
    for row in range(counters):
        square = np.where(t0_ns // 500_000_000 % 2, 300.0, 40.0)
        walk = np.clip(150 + np.cumsum(rng.normal(0, 1, sweeps)), 20, 300)
        power_w = (walk if row % 2 else square) * rng.uniform(0.8, 1.2, sweeps)
        energy_nj = np.cumsum(power_w * np.diff(ticks_ns, prepend=ticks_ns[:1]))
        raw[row] = (first_unit + (energy_nj / UNIT_NJ).astype(np.int64)) % REGISTER * UNIT_NJ // 1000
    sensors = tuple(rapl_sensor(f"package-{row}") for row in range(counters))
    return Stream("rapl", 1_000_000, sensors, t0_ns, t1_ns, raw, np.ones(raw.shape, bool))


def calls(pid: int = 77, count: int = 3, names: tuple[str, ...] = ("main", "step")) -> RegionCalls:
    start_ns = 5_100_000_000 + np.arange(count) * 10_000
    return RegionCalls(
        pid=pid,
        rank=pid % 7,
        names=names,
        region=np.arange(count) % len(names),
        thread=np.full(count, 140_000_000_000_000 + pid),
        start_ns=start_ns,
        stop_ns=start_ns + 7_000 + np.arange(count),
        resumed=np.arange(count) % 3 == 1,
        lost_calls={names[0]: 12},
    )


def rounds(pid: int = 77, count: int = 3, steps: int = 1, name: str = "work") -> Rounds:
    """Rounds of so many intervals each, the first of which wasn't asked for anything."""
    number = np.repeat(np.arange(count), steps)
    start_ns = 5_100_000_000 + np.arange(count * steps) * 10_000
    asked = np.where(np.arange(count) == 0, -1, np.arange(count) * 1_000 + pid)
    return Rounds(
        name=name,
        pid=pid,
        rank=pid % 7,
        round=number,
        start_ns=start_ns,
        stop_ns=start_ns + 7_000 + np.arange(count * steps),
        cpu_ns=asked * 3,
        peak_before_b=asked << 10,
        peak_after_b=asked << 11,
        failed=(np.arange(count) % 3).astype(np.uint8),
        lost=pid % 5,
    )


def recording(
    *streams: Stream, regions: tuple[RegionCalls, ...] = (), in_place: tuple[Rounds, ...] = (), **facts: Any
) -> Recording:
    host = HostRecording(
        host={"hostname": "node01", "clocks": [{"monotonic_ns": 5_000_000_000, "realtime_ns": 10**18}, None]},
        streams=streams or (rapl_stream(20),),
        missing=(Missing("nvml", "GPUs", "no driver", "install it", domains=("gpu",)),),
        regions=regions,
        stats={"cpu_s": 0.012, "missed_ticks": 0},
        rounds=in_place,
    )
    whole = Recording(
        name="heat",
        run_id="first",
        started_unix_ns=10**18,
        window_ns=(5_000_000_000, 6_000_000_000),
        hosts=(host,),
        processes=(Process(0, 77, 5_000_000_000, 6_000_000_000, 0, None, 0.9, 10**7),),
        metadata={"command": ["python", "heat.py"], "settings": {"price": None}},
    )
    return whole._replace(**facts)


def with_gaps(stream: Stream, seed: int = 3) -> Stream:
    """The same, with reads that failed: there the raw value is rubbish."""
    valid = np.random.default_rng(seed).random(stream.raw.shape) > 0.1
    return stream._replace(raw=np.where(valid, stream.raw, -(2**62)), valid=valid)


def tree() -> DataNode:
    return measured()


def assert_same(got: Recording, expected: Recording) -> None:
    """Everything is equal, raw values where they are valid."""
    assert got._replace(hosts=()) == expected._replace(hosts=())
    assert len(got.hosts) == len(expected.hosts)
    for a, b in zip(got.hosts, expected.hosts, strict=True):
        assert a._replace(streams=(), regions=(), rounds=()) == b._replace(streams=(), regions=(), rounds=())
        _assert_streams(a.streams, b.streams)
        _assert_calls(a.regions, b.regions)
        _assert_rounds(a.rounds, b.rounds)


def _assert_streams(got: tuple[Stream, ...], expected: tuple[Stream, ...]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert (a.backend, a.period_ns, a.sensors) == (b.backend, b.period_ns, b.sensors)
        raw = np.asarray(a.raw)
        assert (raw.dtype, raw.shape) == (np.int64, np.shape(b.raw))
        assert a.valid.dtype == np.bool_
        for ours, theirs in ((a.t0_ns, b.t0_ns), (a.t1_ns, b.t1_ns), (a.valid, b.valid)):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(raw[b.valid], np.asarray(b.raw)[b.valid])


def _assert_calls(got: tuple[RegionCalls, ...], expected: tuple[RegionCalls, ...]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert (a.pid, a.rank, a.names, a.lost_calls) == (b.pid, b.rank, b.names, b.lost_calls)
        for name in ("region", "thread", "start_ns", "stop_ns", "resumed"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def _assert_rounds(got: tuple[Rounds, ...], expected: tuple[Rounds, ...]) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert (a.name, a.pid, a.rank, a.lost) == (b.name, b.pid, b.rank, b.lost)
        assert (a.round.dtype, a.failed.dtype) == (np.int64, np.uint8)
        for name in ("round", "start_ns", "stop_ns", "cpu_ns", "peak_before_b", "peak_after_b", "failed"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
