"""Functions and blocks that are measured in place. Truth: the simulated machine's power over their times."""

from __future__ import annotations

import statistics

import pytest
from recordings import (
    BOOT,
    MS,
    WINDOW,
    S,
    cpu_busy,
    host,
    in_place,
    number,
    process,
    processes,
    rapl,
    recording,
    rounds,
    stream,
)
from rounds_of_runs import FAST, MIB, THREE, around, result, sampled, true_j

from perun_like.analysis.hosts import hosts_of
from perun_like.analysis.rounds import timeline_of
from perun_like.model.node import Metric, NodeType
from perun_like.model.recording import RAISED, UNENDED, Process
from perun_like.sensing.contract import GAUGE, Sensor


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


def test_of_a_call_that_was_killed_the_recording_is_what_ends() -> None:
    """Its CPU time was asked for when it began; of the one before it wasn't."""
    mine = rounds([THREE[0]], [THREE[1]], failed=[RAISED, UNENDED])
    several, runs = result(in_place(host(FAST, cpu_busy(2.5), sampled([50.0] * 21, [1] * 21), rounds=(mine,))))
    assert [run.metadata.get("unended") for run in runs] == [None, True]
    assert [run.metadata["failed"] for run in runs] == [True, True]
    assert several.metadata["failed"] == 2
    for name in ("energy_share_j", "energy_rest_j"):
        assert "not asked for" in str(runs[0].metrics[name].reason)
        assert "the recording ends before the call did" in str(runs[1].metrics[name].reason)


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


def test_a_function_that_was_never_called() -> None:
    made = recording(host(FAST), processes=[Process(0, 1, *WINDOW, in_place=True)])
    several, [run] = result(made)
    assert run.metrics["energy_share_j"].value is None
    assert several.metadata == {"rounds": 1, "failed": 1}


def test_a_process_that_was_there_before_is_not_charged_for_that() -> None:
    """Its CPU time as sampled, 50 s, is that of its whole life."""
    made = in_place(host(FAST, cpu_busy(2.5), sampled([50.0] * 21, [1] * 21), rounds=(rounds([THREE[1]]),)))
    assert made.processes[0]._replace() == process(exit_code=None, cpu_s=None, max_rss_b=None, in_place=True)
    _, [run] = result(made)
    assert run.metrics["energy_share_j"].value is None
