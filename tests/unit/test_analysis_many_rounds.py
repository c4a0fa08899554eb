"""More rounds than have a node of their own, and means of all at once."""

from __future__ import annotations

import time

import numpy as np
import pytest
from recordings import (
    BOOT,
    MS,
    SERVER,
    WINDOW,
    S,
    host,
    in_place,
    number,
    rapl,
    rounds,
    stream,
)
from rounds_of_runs import ASSUMED, FAST, THREE, result

from perun_like.analysis.hosts import hosts_of
from perun_like.analysis.overall import over_all
from perun_like.analysis.rounds import timeline_of
from perun_like.analysis.statistics import mean_of
from perun_like.analysis.tree import MOST_RUNS, analyse
from perun_like.model.recording import Recording, Rounds, Stream
from perun_like.model.serial import encode, to_dict
from perun_like.sensing.contract import GAUGE, Sensor
from perun_like.testing.machine import DROPPED, VANISHED, Fault


def many(n: int, sweeps: int = 36_000, sensors: int = 6) -> Recording:
    """An hour of sweeps; calls that fill nine tenths of it."""
    rng = np.random.default_rng(1)
    period_ns = 3_600 * S // sweeps
    t0_ns = WINDOW[0] + np.arange(sweeps) * period_ns
    raw = np.cumsum(rng.integers(1_000_000, 9_000_000, (sensors, sweeps)), axis=1)
    base = FAST.sensors[0]
    made = tuple(
        base._replace(id=f"rapl:package-{k}", identity=str(k), modulus=None, ceiling=None) for k in range(sensors)
    )
    wide = Stream("rapl", period_ns, made, t0_ns, t0_ns + 20_000, raw, np.ones(raw.shape, np.bool_))
    each_ns = 3_500 * S // n
    start_ns = WINDOW[0] + 10 * S + np.arange(n) * each_ns
    unasked = np.full(n, -1)
    marks = Rounds(
        "f",
        100,
        0,
        np.arange(n),
        start_ns,
        start_ns + each_ns * 9 // 10,
        unasked,
        unasked,
        unasked,
        np.arange(n) % 10 == 0,
    )
    return in_place(host(wide, rounds=(marks,)))


def test_of_many_rounds_the_first_have_a_run_and_all_are_in_the_mean() -> None:
    several, runs = result(many(1_000))
    assert len(runs) == MOST_RUNS
    assert several.metadata == {"rounds": 1_000, "failed": 100}
    assert {several.metrics[name].n for name in ("runtime_s", "energy_j", "power_w", "co2e_kg", "cost")} == {1_000}
    cpu = several.metrics["cpu_energy_j"]
    assert (cpu.n, cpu.method) == (MOST_RUNS, f"mean of the first {MOST_RUNS} of 1,000 rounds")
    made = many(1_000)
    [stream] = made.hosts[0].streams
    at_s = (stream.t0_ns - WINDOW[0]) / S  # the truth: straight lines between reads, as the machine has no other
    ends = [(t - WINDOW[0]) / S for t in (made.hosts[0].rounds[0].start_ns, made.hosts[0].rounds[0].stop_ns)]
    joules = sum(np.interp(ends[1], at_s, raw) - np.interp(ends[0], at_s, raw) for raw in stream.raw) / 1e6
    assert several.metrics["energy_j"].value == pytest.approx(joules.mean(), rel=1e-3)
    assert several.metrics["energy_j"].std == pytest.approx(joules.std(ddof=1), rel=0.02)


def test_a_hundred_thousand_rounds_take_less_than_a_second() -> None:
    made = many(100_000)
    before_s = time.process_time()
    encode(to_dict(analyse(made, ASSUMED)))
    assert time.process_time() - before_s < 1


@pytest.mark.parametrize("kind", ["counters", "two hosts", "dropped", "vanished", "overlapping"])
def test_means_over_all_at_once_are_the_means_of_the_runs(kind: str) -> None:
    gpu = Sensor("nvml:gpu0", "nvml", "gpu", "power", GAUGE, "W", 1e-3, tick_ns=20 * MS, domain="gpu", identity="GPU-a")
    watts = stream([gpu], range(BOOT + 400 * MS, BOOT + 2_700 * MS, 50 * MS), lambda _, t: (t - BOOT) // MS * 20)
    broken = {"dropped": Fault(DROPPED, 1_000 * MS, 1_300 * MS), "vanished": Fault(VANISHED, 1_500 * MS)}
    machine = SERVER.with_faults("intel-rapl:0", broken[kind]) if kind in broken else SERVER
    marks = rounds(*([i] for i in (*THREE, (200 * MS, 300 * MS)) if kind == "overlapping" or i in THREE))
    hosts = [host(rapl(machine, period_ns=20 * MS), watts, rounds=(marks,))]
    if kind == "two hosts":
        hosts.append(host(FAST, name="node2"))
    made = in_place(*hosts)
    _, runs = result(made)
    parts = hosts_of(made)
    timeline = timeline_of(made, parts)
    found = over_all([(part, timeline.on(part).windows) for part in parts], timeline.windows, ASSUMED)
    assert set(found) == {"runtime_s", "energy_j", "power_w", "co2e_kg", "cost"}
    for name, metric in found.items():
        mean = mean_of([run.metrics[name] for run in runs], "rounds")
        assert (metric.value, metric.std) == pytest.approx((mean.value, mean.std))
        assert metric.ci95 == pytest.approx(mean.ci95)
        assert (metric.n, metric.unit, metric.missing) == (mean.n, mean.unit, mean.missing)
        assert (metric.scope, metric.provenance) == (mean.scope, mean.provenance)
        assert (metric.upper is None) == (mean.upper is None) == (kind == "vanished" and name != "runtime_s")
        if metric.upper is not None and metric.lower is not None:
            assert number(mean.lower) <= metric.lower * (1 + 1e-9)
            assert metric.upper <= number(mean.upper) * (1 + 1e-9)
