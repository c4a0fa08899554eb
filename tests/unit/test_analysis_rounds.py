"""Runs of several rounds. Truth: the simulated machine's power, integrated over each round alone."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from recordings import (
    ADDED,
    BOOT,
    MS,
    SERVER,
    WINDOW,
    S,
    calls,
    cpu_busy,
    host,
    in_place,
    number,
    process,
    processes,
    rapl,
    recording,
    repeated,
    rounds,
    stream,
    traffic,
    truth_j,
)

from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.hosts import hosts_of
from perun_like.analysis.overall import over_all
from perun_like.analysis.rounds import timeline_of
from perun_like.analysis.statistics import mean_of
from perun_like.analysis.tree import MOST_RUNS, analyse
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.model.recording import Process, Recording, Rounds, Stream
from perun_like.model.serial import encode, from_dict, to_dict
from perun_like.sensing.contract import GAUGE, Sensor
from perun_like.testing.machine import DROPPED, VANISHED, Fault

MIB = 1 << 20
FAST = rapl(period_ns=5 * MS)
THREE = ((100 * MS, 400 * MS), (700 * MS, 1_300 * MS), (1_350 * MS, 1_900 * MS))
ASSUMED = Assumptions(country="DE", price=(0.30, "EUR"))


def result(made: Recording) -> tuple[DataNode, list[DataNode]]:
    """The MULTI_RUN and its runs, after the result has agreed with itself."""
    root = analyse(made, ASSUMED)
    assert self_check(root) == []
    assert to_dict(from_dict(to_dict(root))) == to_dict(root)
    [several] = root.nodes
    assert root.metrics == several.metrics
    return several, several.nodes


def true_j(*intervals: tuple[int, int]) -> float:
    return sum(truth_j(ADDED, (WINDOW[0] + a, WINDOW[0] + b)) for a, b in intervals)


def around(metric: Metric, exact: float, rel: float = 0.01) -> None:
    assert number(metric.lower) <= exact <= number(metric.upper)
    assert metric.value == pytest.approx(exact, rel=rel)


def sampled(cpu_s: list[float | None], count: list[int | None], every_ns: int = 100 * MS) -> Stream:
    """The application's processes, read on a grid from the window's start."""
    sensors = [
        Sensor("processes:cpu_time", "processes", "application", "cpu_time", "counter", "s", 0.01),
        Sensor("processes:count", "processes", "application", "processes", GAUGE, "1"),
    ]
    columns = {"processes:cpu_time": [None if s is None else round(s * 100) for s in cpu_s], "processes:count": count}
    at_ns = [WINDOW[0] + k * every_ns for k in range(len(cpu_s))]
    return stream(sensors, at_ns, lambda s, t: columns[s.id][at_ns.index(t)])


# Programs that are repeated


def test_each_round_is_a_run_of_its_own_time() -> None:
    several, runs = result(repeated(*THREE, made=host(FAST)))
    assert [(run.type, run.id) for run in runs] == [(NodeType.RUN, str(k)) for k in range(3)]
    for run, interval in zip(runs, THREE, strict=True):
        around(run.metrics["energy_j"], true_j(interval))
        assert run.metrics["runtime_s"].value == (interval[1] - interval[0]) / S
        around(run.metrics["power_w"], true_j(interval) / (interval[1] - interval[0]) * S)
        assert run.metadata["window_ns"] == [WINDOW[0] + t for t in interval]
        assert [entry["pid"] for entry in run.metadata["processes"]] == [100 + int(run.id)]
        for sensor in run.find(NodeType.SENSOR):
            path = str(sensor.metadata["source"]).split()[1].split("/")[0]
            window = WINDOW[0] + interval[0], WINDOW[0] + interval[1]
            around(sensor.metrics["energy_j"], truth_j([path], window), rel=0.03)
            assert sensor.metadata["reads"] == pytest.approx((interval[1] - interval[0]) / (5 * MS), abs=2)
    assert several.metadata == {"rounds": 3, "failed": 0}


def test_a_runs_start_is_that_of_its_round() -> None:
    _, runs = result(repeated(*THREE, made=host(FAST)))
    assert [run.metadata["started_unix_ns"] for run in runs] == [
        1_790_000_000 * S + t for t in (0, 600 * MS, 1_250 * MS)
    ]


def test_statistics_are_those_of_the_rounds() -> None:
    several, _ = result(repeated(*THREE, made=host(FAST)))
    exact = [true_j(interval) for interval in THREE]
    energy = several.metrics["energy_j"]
    around(energy, statistics.mean(exact))
    assert energy.mean == energy.value
    assert energy.std == pytest.approx(statistics.stdev(exact), rel=0.02)
    assert energy.n == 3
    half = 4.3027 * statistics.stdev(exact) / math.sqrt(3)
    assert energy.ci95 == pytest.approx((number(energy.mean) - half, number(energy.mean) + half), rel=0.02)
    assert energy.method == "mean of 3 rounds"
    runtime = several.metrics["runtime_s"]
    assert (runtime.value, runtime.std) == pytest.approx((1.45 / 3, statistics.stdev([0.3, 0.6, 0.55])))
    assert several.metrics["gpu_energy_j"].provenance is Provenance.MISSING
    per_kg = ASSUMED_KG / 3.6e6
    co2e = several.metrics["co2e_kg"]
    assert [co2e.value, co2e.std, co2e.n] == pytest.approx(
        [number(energy.value) * per_kg, number(energy.std) * per_kg, 3]
    )


ASSUMED_KG = 0.33638  # of CO2e for a kWh in Germany, in the packaged table


def test_two_rounds_have_an_interval_too() -> None:
    several, _ = result(repeated(*THREE[:2], made=host(FAST)))
    energy = several.metrics["energy_j"]
    exact = [true_j(interval) for interval in THREE[:2]]
    assert (energy.n, energy.std) == (2, pytest.approx(statistics.stdev(exact), rel=0.02))
    ends = energy.ci95 or (0.0, 0.0)
    assert ends[1] - ends[0] == pytest.approx(2 * 12.7062 * number(energy.std) / math.sqrt(2), rel=1e-4)


def test_adjacent_rounds_are_the_whole_between_them() -> None:
    edges = [k * 137 * MS for k in range(12)]
    intervals = list(pairwise(edges))
    several, runs = result(repeated(*intervals, made=host(FAST)))
    for run, interval in zip(runs, intervals, strict=True):
        assert number(run.metrics["energy_j"].lower) <= true_j(interval) <= number(run.metrics["energy_j"].upper)
    whole = sum(number(run.metrics["energy_j"].value) for run in runs)
    assert whole == pytest.approx(true_j((0, edges[-1])), rel=0.002)
    energy = several.metrics["energy_j"]
    around(energy, true_j((0, edges[-1])) / 11, rel=0.002)
    # The rounds' bounds together are much closer than one by one.
    apart = statistics.mean(number(run.metrics["energy_j"].upper) for run in runs)
    assert number(energy.upper) - true_j((0, edges[-1])) / 11 < (apart - true_j((0, edges[-1])) / 11) / 5


def test_one_round_is_what_a_run_without_rounds_is() -> None:
    made = host(FAST, cpu_busy(2.5), traffic(), processes([20 * MIB, 40 * MIB], [0, 100]))
    [run] = result(recording(made))[1]
    [again] = result(repeated((0, 2_000 * MS), made=made))[1]
    assert again.metrics == run.metrics


def test_what_the_sampler_cost_is_told_once_for_all_rounds() -> None:
    several, runs = result(repeated(*THREE, made=host(FAST)))
    assert several.metrics["overhead_cpu_s"].value == 0.03
    assert several.metrics["missed_ticks"].value == 2
    assert all(run.metrics["overhead_cpu_s"].value is None for run in runs)


def test_failed_rounds_are_counted() -> None:
    made = repeated(*THREE, made=host(FAST))
    ended = [replace(made.processes[1], exit_code=None, signal=9), replace(made.processes[2], exit_code=3)]
    several, runs = result(replace(made, processes=(made.processes[0], *ended)))
    assert (several.metadata["rounds"], several.metadata["failed"]) == (3, 2)
    assert [(run.metadata["exit_code"], run.metadata["signal"]) for run in runs] == [(0, None), (None, 9), (3, None)]


def test_warm_up_rounds_are_told() -> None:
    made = repeated(*THREE, made=host(FAST))
    several, _ = result(replace(made, metadata={**made.metadata, "settings": {"warmup": 2}}))
    assert several.metadata["warmup"] == 2


def test_the_share_is_by_the_cpu_time_of_the_round() -> None:
    """Each round is told 0.2 s by wait4; the counter of all processes goes on through the rounds to 0.6 s."""
    used = [
        min(0.2 * sum((t - a) / (b - a) if a <= t < b else t >= b for a, b in THREE), 0.6)
        for t in range(0, 2_001 * MS, 100 * MS)
    ]
    count = [int(any(a <= t < b for a, b in THREE)) for t in range(0, 2_001 * MS, 100 * MS)]
    made = host(FAST, cpu_busy(2.5, every_ns=10 * MS), sampled(used, count))
    _, runs = result(repeated(*THREE, made=made, cpu_s=0.2))
    for run, (a, b) in zip(runs, THREE, strict=True):
        share, seconds = run.metrics["energy_share_j"], (b - a) / S
        middle = (0.2 / (4 * seconds) + 0.2 / (2.5 * seconds)) / 2
        assert share.value == pytest.approx(true_j((a, b)) * middle, rel=0.05)
        assert number(share.upper) == pytest.approx(true_j((a, b)) * 0.2 / (2.5 * seconds), rel=0.25)


def test_what_outlives_one_round_widens_the_share_of_that_one_only() -> None:
    """A daemon of the first round is seen until 0.5 s, and is gone before the second round."""
    count = [1 if t in (1, 2, 3, 4, 5) or 7 <= t < 13 or 14 <= t < 19 else 0 for t in range(21)]
    made = host(FAST, cpu_busy(2.5, every_ns=10 * MS), sampled([0.1] * 21, count))
    _, runs = result(repeated(*THREE, made=made, cpu_s=0.1))
    uppers = [number(run.metrics["energy_share_j"].upper) / true_j(i) for run, i in zip(runs, THREE, strict=True)]
    assert uppers[0] > 0.9  # it may have used all that the host was busy with
    assert uppers[1] < 0.15
    assert uppers[2] < 0.15


def test_cpu_time_that_wait4_was_not_told_is_found_in_its_round() -> None:
    """A second of CPU time appears within the second round, of which wait4 knew 0.1 s."""
    used = [0.1 if t < 9 else 1.1 for t in range(21)]
    made = host(FAST, cpu_busy(2.5, every_ns=10 * MS), sampled(used, [0] * 21))
    _, runs = result(repeated(*THREE, made=made, cpu_s=0.1))
    shares = [number(run.metrics["energy_share_j"].value) / true_j(i) for run, i in zip(runs, THREE, strict=True)]
    assert shares[1] > (0.95 / (4 * 0.6) + 0.95 / (2.5 * 0.6)) / 2 * 0.98
    assert shares[0] < (0.1 / (4 * 0.3) + 0.1 / (2.5 * 0.3)) / 2 * 1.1
    assert shares[2] < (0.1 / (4 * 0.55) + 0.1 / (2.5 * 0.55)) / 2 * 1.1


def test_memory_peak_is_that_of_the_round() -> None:
    """Sampled: 20, 30, 40, … MiB every 0.2 s; two processes, so that the kernel's peaks bound nothing."""
    made = host(FAST, processes([20 * MIB + 10 * MIB * k for k in range(10)], [0] * 10, count=2))
    several, runs = result(repeated(*THREE, made=made, max_rss_b=5 * MIB))
    assert [run.metrics["memory_peak_b"].value for run in runs] == [40 * MIB, 80 * MIB, 110 * MIB]
    assert several.metrics["memory_peak_b"].value == pytest.approx((40 + 80 + 110) / 3 * MIB)
    assert several.metrics["memory_peak_b"].upper is None


def test_a_round_without_reads_is_left_out_of_the_mean_and_told() -> None:
    """The sampler died at 0.6 s: of the first round all is known, of the others nothing."""
    keep = FAST.t0_ns < WINDOW[0] + 600 * MS
    short = replace(
        FAST, t0_ns=FAST.t0_ns[keep], t1_ns=FAST.t1_ns[keep], raw=FAST.raw[:, keep], valid=FAST.valid[:, keep]
    )
    several, runs = result(repeated(*THREE, made=host(short, cut="killed", stats={})))
    assert [run.metrics["energy_j"].value is None for run in runs] == [False, True, True]
    energy = several.metrics["energy_j"]
    assert (energy.n, energy.std, energy.ci95) == (1, None, None)
    around(energy, true_j(THREE[0]))
    assert "missing in 2 of 3 rounds" in str(energy.reason)
    assert several.metrics["runtime_s"].n == 3
    assert several.metrics["overhead_cpu_s"].reason == "killed"


# Measured in place


@pytest.mark.parametrize(("period_ns", "rel"), [(10 * MS, 0.01), (100 * MS, 0.04)])
def test_three_rounds_of_a_short_function(period_ns: int, rel: float) -> None:
    """Each of 0.2 s, of varying power: the truth is the analytic integral."""
    intervals = [(113 * MS, 313 * MS), (551 * MS, 751 * MS), (1_490 * MS, 1_690 * MS)]
    several, runs = result(in_place(host(rapl(period_ns=period_ns), rounds=(rounds(*([i] for i in intervals)),))))
    exact = [true_j(interval) for interval in intervals]
    assert max(exact) > 1.1 * min(exact)  # or a mean would prove nothing
    around(several.metrics["energy_j"], statistics.mean(exact), rel=rel)
    for run, truth in zip(runs, exact, strict=True):
        assert number(run.metrics["energy_j"].lower) <= truth <= number(run.metrics["energy_j"].upper)
    assert several.metrics["runtime_s"].value == pytest.approx(0.2)


def test_a_generator_is_charged_its_steps_only() -> None:
    steps = [(100 * MS, 250 * MS), (600 * MS, 900 * MS), (1_500 * MS, 1_600 * MS)]
    watts = Sensor("x:watts", "x", "platform", "power", GAUGE, "W", 1e-3)
    ramp = stream([watts], [BOOT + k * 10 * MS for k in range(300)], lambda _, t: (t - BOOT) // MS)
    several, [run] = result(in_place(host(FAST, cpu_busy(2.5, every_ns=10 * MS), ramp, rounds=(rounds(steps),))))
    around(run.metrics["energy_j"], true_j(*steps))
    assert true_j(*steps) < 0.5 * true_j((100 * MS, 1_600 * MS))
    assert run.metrics["runtime_s"].value == pytest.approx(0.55)
    around(run.metrics["power_w"], true_j(*steps) / 0.55)
    around(run.metrics["cpu_util_percent"], 62.5, rel=0.03)
    assert run.metadata["window_ns"] == [WINDOW[0] + 100 * MS, WINDOW[0] + 1_600 * MS]
    [mean] = [sensor.metrics["power_w_mean"] for sensor in run.find(NodeType.SENSOR) if sensor.id == "x:watts"]
    weighed = sum((b - a) * (500 * MS + (a + b) / 2) for a, b in steps) / (550 * MS) / S  # of the ramp's middles
    assert mean.value == pytest.approx(weighed)
    assert several.metadata["rounds"] == 1


def test_two_generators_that_take_turns_share_no_time() -> None:
    one = [(0, 200 * MS), (400 * MS, 600 * MS)]
    other = [(200 * MS, 400 * MS), (600 * MS, 900 * MS)]
    several, runs = result(in_place(host(FAST, rounds=(rounds(one, other),))))
    around(runs[0].metrics["energy_j"], true_j(*one))
    around(runs[1].metrics["energy_j"], true_j(*other))
    around(several.metrics["energy_j"], true_j((0, 900 * MS)) / 2)


def test_rounds_that_overlap_each_have_what_the_host_used_meanwhile() -> None:
    intervals = [(100 * MS, 900 * MS), (200 * MS, 1_000 * MS), (300 * MS, 500 * MS), (300 * MS, 500 * MS)]
    several, runs = result(in_place(host(FAST, rounds=(rounds(*([i] for i in intervals)),))))
    for run, interval in zip(runs, intervals, strict=True):
        around(run.metrics["energy_j"], true_j(interval), rel=0.02)
    around(several.metrics["energy_j"], statistics.mean(map(true_j, intervals)))


def test_cpu_time_of_a_round_is_what_the_process_said() -> None:
    """It had used 50 s before, which are not the rounds'."""
    mine = rounds([THREE[0]], [THREE[1]], cpu_ns=[200 * MS, 300 * MS])
    made = host(
        FAST, cpu_busy(2.5, every_ns=10 * MS), sampled([50.0 + k / 10 for k in range(21)], [1] * 21), rounds=(mine,)
    )
    _, runs = result(in_place(made))
    for run, interval, cpu_s in zip(runs, THREE, (0.2, 0.3), strict=False):
        share, seconds = run.metrics["energy_share_j"], (interval[1] - interval[0]) / S
        assert share.value == pytest.approx(true_j(interval) * cpu_s / seconds * (1 / 4 + 1 / 2.5) / 2, rel=0.05)
        assert number(share.upper) < true_j(interval) * cpu_s / seconds / 2.5 * 1.25


def test_other_processes_may_have_used_what_the_host_was_busy_with() -> None:
    mine = rounds([THREE[1]], cpu_ns=[300 * MS])
    for count in ([1] * 8 + [2] + [1] * 12, []):
        streams = [sampled([1.0] * 21, count)] if count else []
        _, [run] = result(in_place(host(FAST, cpu_busy(2.5, every_ns=10 * MS), *streams, rounds=(mine,))))
        share = run.metrics["energy_share_j"]
        assert share.value == pytest.approx(true_j(THREE[1]) * 0.5 * (1 / 4 + 1 / 2.5) / 2, rel=0.05)
        assert number(share.upper) > 0.95 * true_j(THREE[1])


def test_what_saves_the_results_is_no_part_of_the_run() -> None:
    """A second process is seen, but only when the last round has ended."""
    mine = rounds([THREE[0]], cpu_ns=[200 * MS])
    made = host(FAST, cpu_busy(2.5, every_ns=10 * MS), sampled([50.0] * 21, [1] * 5 + [2] * 16), rounds=(mine,))
    _, [run] = result(in_place(made))
    assert number(run.metrics["energy_share_j"].upper) < true_j(THREE[0]) * 0.2 / 0.3 / 2.5 * 1.25


def test_without_cpu_time_there_is_no_share_and_a_reason() -> None:
    mine = rounds([THREE[0]], [THREE[1]], cpu_ns=[-1, 200 * MS])
    several, runs = result(in_place(host(FAST, cpu_busy(2.5), sampled([50.0] * 21, [1] * 21), rounds=(mine,))))
    for name in ("energy_share_j", "energy_rest_j"):
        assert runs[0].metrics[name].value is None
        assert "not asked for" in str(runs[0].metrics[name].reason)
        assert several.metrics[name].n == 1
        assert "missing in 1 of 2 rounds: the CPU time of calls" in str(several.metrics[name].reason)
    assert several.metrics["energy_j"].n == 2


def memory(before: int, after: int, rss: list[int], count: int = 1) -> Metric:
    asked = {"peak_before_b": [before * MIB], "peak_after_b": [after * MIB]}
    seen = processes([b * MIB for b in rss], [0] * len(rss), count=count) if rss else cpu_busy(1.0)
    _, [run] = result(in_place(host(seen, rounds=(rounds([(450 * MS, 1_550 * MS)], **asked),))))
    return run.metrics["memory_peak_b"]


def test_a_peak_that_rose_was_in_the_round() -> None:
    found = memory(100, 160, [90, 95, 110, 120])
    assert (found.lower, found.value, found.upper) == (160 * MIB, 160 * MIB, 160 * MIB)


def test_a_peak_from_before_bounds_what_was_sampled_in_the_round() -> None:
    """Read at 0, 0.5, 1 and 1.5 s: the first is not in it."""
    found = memory(160, 160, [150, 95, 110, 105])
    assert (found.lower, found.value, found.upper) == (110 * MIB, 110 * MIB, 160 * MIB)


def test_a_peak_from_before_without_samples_is_at_most() -> None:
    made = rounds([(10 * MS, 40 * MS)], peak_before_b=[160 * MIB], peak_after_b=[160 * MIB])
    _, [run] = result(in_place(host(processes([90 * MIB] * 4, [0] * 4), rounds=(made,))))
    found = run.metrics["memory_peak_b"]
    assert (found.value, found.upper) == (None, 160 * MIB)
    assert "at most 160 MiB" in str(found.reason)


def test_a_peak_beside_other_processes_is_only_a_lower_bound() -> None:
    found = memory(100, 160, [90, 95, 210, 120], count=3)
    assert (found.lower, found.value, found.upper) == (210 * MIB, 210 * MIB, None)


def test_a_peak_that_was_not_asked_for() -> None:
    made = rounds([(450 * MS, 1_550 * MS)])
    _, [run] = result(in_place(host(processes([90 * MIB] * 4, [0] * 4), rounds=(made,))))
    assert (run.metrics["memory_peak_b"].value, run.metrics["memory_peak_b"].upper) == (90 * MIB, None)
    _, [run] = result(in_place(host(cpu_busy(1.0), rounds=(made,))))
    assert run.metrics["memory_peak_b"].value is None
    assert run.metrics["memory_peak_b"].reason


def test_nobody_saw_the_end_of_what_was_measured_in_place() -> None:
    several, runs = result(in_place(host(FAST, rounds=(rounds(*([i] for i in THREE), failed=[0, 1, 0]),))))
    assert [run.metadata["failed"] for run in runs] == [False, True, False]
    assert all(
        (run.metadata["in_place"], run.metadata["exit_code"], run.metadata["signal"]) == (True, None, None)
        for run in runs
    )
    assert several.metadata == {"rounds": 3, "failed": 1}


def test_rounds_that_were_only_counted_are_told() -> None:
    several, _ = result(in_place(host(FAST, rounds=(rounds([THREE[0]], [THREE[1]], lost=5),))))
    assert several.metadata == {"rounds": 7, "failed": 0, "only_counted": 5}
    assert several.metrics["energy_j"].n == 2


def test_round_k_is_the_kth_of_each_rank() -> None:
    """From when the first rank is in it until the last one has left it; one rank left out the second round."""
    one = rounds([(0, 300 * MS)], [(500 * MS, 800 * MS)], cpu_ns=[100 * MS, 150 * MS])
    two = rounds([(100 * MS, 400 * MS)], rank=1, cpu_ns=[50 * MS], failed=[1])
    made = host(FAST, cpu_busy(2.5, every_ns=10 * MS), sampled([1.0] * 21, [2] * 21), rounds=(one, two))
    several, runs = result(in_place(made, ranks=2))
    around(runs[0].metrics["energy_j"], true_j((0, 400 * MS)))
    around(runs[1].metrics["energy_j"], true_j((500 * MS, 800 * MS)))
    shares = [number(run.metrics["energy_share_j"].value) for run in runs]
    factor = (1 / 4 + 1 / 2.5) / 2
    assert shares[0] == pytest.approx(true_j((0, 400 * MS)) * 0.15 / 0.4 * factor, rel=0.05)
    assert shares[1] == pytest.approx(true_j((500 * MS, 800 * MS)) * 0.15 / 0.3 * factor, rel=0.05)
    assert [run.metadata["failed"] for run in runs] == [True, False]
    assert several.metadata["failed"] == 1


def test_rounds_of_forked_processes_of_a_rank_are_in_the_order_of_their_beginnings() -> None:
    parent = rounds([(0, 100 * MS)], [(800 * MS, 900 * MS)], cpu_ns=[1, 4])
    child = rounds([(200 * MS, 300 * MS), (350 * MS, 400 * MS)], [(500 * MS, 600 * MS)], pid=7, cpu_ns=[2, 3])
    made = in_place(host(FAST, rounds=(parent, child)))
    timeline = timeline_of(made, hosts_of(made))
    each = [timeline.round(k) for k in range(4)]
    assert [round_.window_ns[0] - WINDOW[0] for round_ in each] == [0, 200 * MS, 500 * MS, 800 * MS]
    assert [(round_.calls or ())[0].cpu_s for round_ in each] == [1e-9, 2e-9, 3e-9, 4e-9]
    assert [len(round_.windows.a_ns) for round_ in each] == [1, 2, 1, 1]


# Regions


def region(node: DataNode, name: str) -> Any:
    return next(region for region in node.regions if region.name == name)


def test_regions_are_clipped_to_the_round_and_averaged() -> None:
    """A region that spans all rounds, one in two of them, one between them."""
    spans = [
        ("main", 0, 1_950 * MS),
        ("step", 150 * MS, 350 * MS),
        ("step", 750 * MS, 850 * MS),
        ("step", 900 * MS, 950 * MS),
    ]
    made = host(
        FAST, rounds=(rounds(*([i] for i in THREE)),), regions=(calls([*spans, ("between", 500 * MS, 600 * MS)]),)
    )
    several, runs = result(in_place(made))
    assert [[r.name for r in run.regions] for run in runs] == [["main", "step"], ["main", "step"], ["main"]]
    for run, interval in zip(runs, THREE, strict=True):
        assert region(run, "main").metrics["energy_j"].value == pytest.approx(number(run.metrics["energy_j"].value))
        assert region(run, "main").metrics["runtime_s"].value == pytest.approx((interval[1] - interval[0]) / S)
    step = region(several, "step")
    assert (step.calls, [region(run, "step").calls for run in runs[:2]]) == (3, [1, 2])
    exact = [true_j((150 * MS, 350 * MS)), true_j((750 * MS, 850 * MS), (900 * MS, 950 * MS))]
    energy = step.metrics["energy_j"]
    around(energy, statistics.mean(exact), rel=0.02)
    assert (energy.n, energy.std) == (2, pytest.approx(statistics.stdev(exact), rel=0.05))
    assert energy.method == "mean of 2 of 3 rounds"
    assert region(several, "main").metrics["energy_j"].n == 3


def test_a_process_belongs_to_its_round_although_its_open_call_ends_with_the_run() -> None:
    """The first round was killed within a region: the recording takes it to have ended with the whole run."""
    last = THREE[-1][1]
    killed = replace(calls([("solve", 200 * MS, last)]), pid=100)
    fine = replace(calls([("solve", 800 * MS, 900 * MS)]), pid=101)
    several, runs = result(repeated(*THREE, made=host(FAST, regions=(killed, fine))))
    times = [[r.metrics["runtime_s"].value for r in run.regions] for run in runs]
    assert times == [[pytest.approx(0.2)], [pytest.approx(0.1)], []]
    assert region(several, "solve").metrics["runtime_s"].n == 2


def test_a_region_within_a_generator_is_that_of_its_steps() -> None:
    steps = [(100 * MS, 250 * MS), (600 * MS, 900 * MS)]
    made = host(FAST, rounds=(rounds(steps, [(1_000 * MS, 1_100 * MS)]),), regions=(calls([("f", 0, 2_000 * MS)]),))
    _, runs = result(in_place(made))
    around(region(runs[0], "f").metrics["energy_j"], true_j(*steps))
    assert region(runs[0], "f").metrics["runtime_s"].value == pytest.approx(0.45)


def test_calls_that_were_only_counted_are_of_no_round_and_of_the_whole() -> None:
    made = calls([("f", 150 * MS, 350 * MS)], lost_calls={"f": 4, "g": 2})
    several, runs = result(in_place(host(FAST, rounds=(rounds(*([i] for i in THREE)),), regions=(made,))))
    energy = region(runs[0], "f").metrics["energy_j"]
    assert energy.upper is None
    assert energy.missing == ("calls that were only counted, in any of the rounds",)
    assert region(runs[0], "f").calls == 1
    assert {r.name: r.calls for r in several.regions} == {"f": 5, "g": 2}
    assert region(several, "f").metrics["energy_j"].upper is None


# Many rounds


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
    found = over_all(parts, timeline_of(made, parts).windows, ASSUMED)
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


# What is wrong is found


def test_self_check_finds_wrong_statistics() -> None:
    root = analyse(repeated(*THREE, made=host(FAST)), ASSUMED)
    [several] = root.nodes
    good = several.metrics["energy_j"]
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"mean": 1.0}, "has the mean 1.0"),
        ({"n": 0}, "is the mean of 0 rounds"),
        ({"n": None}, "unknown number"),
        ({"std": None}, "standard deviation None"),
        ({"std": -1.0}, "standard deviation -1.0"),
        ({"ci95": (0.0, 1.0)}, "outside of (0.0, 1.0)"),
        ({"ci95": None}, "the interval None"),
        ({"value": number(good.value) * 1.001, "mean": number(good.value) * 1.001}, "the mean of its rounds is"),
        ({"lower": 0.0}, "lower of energy_j is 0.0, the mean of its rounds' is"),
    ]
    for change, words in wrongs:
        several.metrics["energy_j"] = replace(good, **change)
        assert any(words in problem for problem in self_check(root)), words
    several.metrics["energy_j"] = good
    assert self_check(root) == []
    several.metadata["rounds"] = 2
    assert self_check(root) == ["MULTI_RUN run-1 has 3 runs, but 2 rounds"]
    several.metadata.update(rounds=3, failed=4)
    assert self_check(root) == ["MULTI_RUN run-1 says that 4 of 3 rounds failed"]


def test_a_function_that_was_never_called() -> None:
    made = recording(host(FAST), processes=[Process(0, 1, *WINDOW, in_place=True)])
    several, [run] = result(made)
    assert run.metrics["energy_share_j"].value is None
    assert several.metadata == {"rounds": 1, "failed": 1}


def test_a_process_that_was_there_before_is_not_charged_for_that() -> None:
    """Its CPU time as sampled, 50 s, is that of its whole life."""
    made = in_place(host(FAST, cpu_busy(2.5), sampled([50.0] * 21, [1] * 21), rounds=(rounds([THREE[1]]),)))
    assert replace(made.processes[0]) == process(exit_code=None, cpu_s=None, max_rss_b=None, in_place=True)
    _, [run] = result(made)
    assert run.metrics["energy_share_j"].value is None
