"""Programs that are repeated. Truth: the simulated machine's power, integrated over each round alone."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import Any

import pytest
from recordings import (
    MS,
    WINDOW,
    S,
    cpu_busy,
    host,
    number,
    processes,
    recording,
    repeated,
    traffic,
    truth_j,
)
from rounds_of_runs import ASSUMED, FAST, MIB, THREE, around, result, sampled, true_j

from perun_like.analysis.tree import analyse
from perun_like.model.check import self_check
from perun_like.model.node import NodeType, Provenance


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
    ended = [made.processes[1]._replace(exit_code=None, signal=9), made.processes[2]._replace(exit_code=3)]
    several, runs = result(made._replace(processes=(made.processes[0], *ended)))
    assert (several.metadata["rounds"], several.metadata["failed"]) == (3, 2)
    assert [(run.metadata["exit_code"], run.metadata["signal"]) for run in runs] == [(0, None), (None, 9), (3, None)]


def test_warm_up_rounds_are_told() -> None:
    made = repeated(*THREE, made=host(FAST))
    several, _ = result(made._replace(metadata={**made.metadata, "settings": {"warmup": 2}}))
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
    short = FAST._replace(
        t0_ns=FAST.t0_ns[keep], t1_ns=FAST.t1_ns[keep], raw=FAST.raw[:, keep], valid=FAST.valid[:, keep]
    )
    several, runs = result(repeated(*THREE, made=host(short, cut="killed", stats={})))
    assert [run.metrics["energy_j"].value is None for run in runs] == [False, True, True]
    energy = several.metrics["energy_j"]
    assert (energy.n, energy.std, energy.ci95) == (1, None, None)
    around(energy, true_j(THREE[0]))
    assert "missing in 2 of 3 rounds" in str(energy.reason)
    assert several.metrics["runtime_s"].n == 3
    assert several.metrics["overhead_cpu_s"].reason == "killed"


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
        several.metrics["energy_j"] = good._replace(**change)
        assert any(words in problem for problem in self_check(root)), words
    several.metrics["energy_j"] = good
    assert self_check(root) == []
    several.metadata["rounds"] = 2
    assert self_check(root) == ["MULTI_RUN run-1 has 3 runs, but 2 rounds"]
    several.metadata.update(rounds=3, failed=4)
    assert self_check(root) == ["MULTI_RUN run-1 says that 4 of 3 rounds failed"]
