"""Jobs of several ranks: each one's part of its host's energy. Truth: DESIGN's formulas, the machine's integral."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import (
    BOOT,
    MS,
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
    rounds,
    stream,
    truth_j,
)
from rounds_of_runs import ASSUMED, FAST, MIB, around, result

from perun_like.analysis.attribution import METHOD, Basis, Bounds, share_of
from perun_like.analysis.ranks import divided, shares_of
from perun_like.analysis.tree import analyse
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Rank, Scope
from perun_like.model.recording import RAISED, UNENDED, HostRecording, Process, Recording
from perun_like.report.text import render
from perun_like.sensing.contract import GAUGE, Sensor

BUSY = cpu_busy(2.5, every_ns=10 * MS)


def job(*hosts: HostRecording, processes: list[Process], size: int | None = None) -> Recording:
    made = recording(*hosts, processes=processes)
    window_ns = min(p.start_ns for p in processes), max(p.stop_ns for p in processes)
    return made._replace(size=len(processes) if size is None else size, window_ns=window_ns)


def only_run(made: Recording) -> DataNode:
    [run] = result(made)[1]
    return run


def shares(ranks: list[Rank]) -> list[float]:
    return [number(rank.metrics["energy_share_j"].value) for rank in ranks]


def exactly(seconds: float) -> Bounds:
    return Bounds(seconds, seconds, seconds)


def of_host(energy_j: float, basis: Basis, gpu_j: float | None = None) -> dict[str, Metric]:
    energy = Metric(energy_j, "J", energy_j * 0.9, energy_j * 1.1)
    gpu = Metric.absent("J", "none") if gpu_j is None else Metric(gpu_j, "J", gpu_j * 0.9, gpu_j * 1.1)
    share, rest = share_of(energy, basis, gpu)
    return {"energy_j": energy, "gpu_energy_j": gpu, "energy_share_j": share, "energy_rest_j": rest}


def test_shares_by_hand() -> None:
    """Of 100 J: 4 s of 5 s busy and 20 s possible are the program's, in the middle (20 % + 80 %) / 2."""
    metrics = of_host(100.0, Basis(exactly(4), exactly(5), 20))
    one, three = shares_of(metrics, Basis(exactly(4), exactly(5), 20), [1.0, 3.0])
    assert (one.lower, one.value, one.upper) == pytest.approx((90 / 20, 12.5, 110 / 5))
    assert (three.lower, three.value, three.upper) == pytest.approx((90 * 3 / 20, 37.5, 110 * 3 / 5))
    assert (one.scope, one.provenance, one.method) == (Scope.APPLICATION, Provenance.ESTIMATED, METHOD)


def test_gpus_are_divided_equally_with_bounds_of_nothing_and_all() -> None:
    """60 of 160 J are the GPUs': 30 for each of two ranks, whatever their CPU time."""
    basis = Basis(exactly(4), exactly(5), 20)
    one, three = shares_of(of_host(160.0, basis, 60.0), basis, [1.0, 3.0])
    assert (one.value, three.value) == pytest.approx((30 + 12.5, 30 + 37.5))
    assert one.lower == pytest.approx((160 * 0.9 - 60 * 0.9) / 20)
    assert three.upper == pytest.approx((160 * 1.1 - 60 * 1.1) * 3 / 5 + 60 * 1.1)
    assert "divided equally among its ranks" in str(one.method)


def test_time_that_no_rank_accounts_for_may_be_of_any() -> None:
    """2 s were seen in processes that nobody waited for, and 5 s of busy time at most could be."""
    basis = Basis(Bounds(4.0, 4.0, 5.0), exactly(5), 20)
    one, two = shares_of(of_host(100.0, basis), basis, [0.5, 1.5])
    assert number(one.value) / number(two.value) == pytest.approx(1 / 3)
    assert one.lower == pytest.approx(90 * 0.5 / 20)
    assert one.upper == pytest.approx(110 * 3.5 / 5)


def test_a_rank_of_unknown_time_has_no_share_and_the_others_keep_theirs() -> None:
    basis = Basis(Bounds(4.0, 4.0, 5.0), exactly(5), 20)
    unknown, known = shares_of(of_host(100.0, basis), basis, [None, 1.0])
    assert (unknown.value, unknown.reason) == (None, "the rank's CPU time is not known")
    assert known.value == pytest.approx((4 / 20 + 4 / 5) / 2 * 100 / 4)


amounts = st.floats(0, 1e6) | st.just(0.0)


@given(
    energy_j=st.floats(1e-9, 1e12),
    cpu_s=st.lists(amounts, min_size=1, max_size=40),
    elsewhere=st.floats(0, 1e4),
    slack=st.floats(0, 1),
    capacity=st.floats(1e-3, 1e7),
    of_gpu=st.none() | st.floats(0, 1),
    seed=st.randoms(use_true_random=False),
)
def test_shares_of_ranks_and_the_rest_are_the_hosts_energy_exactly(
    energy_j: float,
    cpu_s: list[float],
    elsewhere: float,
    slack: float,
    capacity: float,
    of_gpu: float | None,
    seed: random.Random,
) -> None:
    all_s = math.fsum(cpu_s)
    basis = Basis(Bounds(all_s, all_s, all_s + slack), exactly(all_s + elsewhere), capacity)
    metrics = of_host(energy_j, basis, None if of_gpu is None else of_gpu * energy_j)
    found = shares_of(metrics, basis, cpu_s)
    values = [number(share.value) for share in found]
    assert math.fsum([*values, number(metrics["energy_rest_j"].value)]) == energy_j
    seed.shuffle(values)
    assert sum(values) == metrics["energy_share_j"].value
    for share in found:
        assert 0 <= number(share.lower) <= number(share.value) <= number(share.upper) <= energy_j * 1.1 * (1 + 1e-12)


@given(st.floats(0, 1e300), st.lists(st.floats(0, 1e30), min_size=1, max_size=30))
def test_parts_are_as_the_weights_and_none_is_negative(whole: float, weights: list[float]) -> None:
    parts = divided(whole, weights)
    assert math.fsum(parts) == whole
    assert min(parts) >= 0
    for part, weight in zip(parts, weights, strict=True):
        if math.fsum(weights):
            assert part == pytest.approx(whole * (weight / math.fsum(weights)), abs=math.ulp(whole) * len(parts))


def four_ranks() -> list[Process]:
    facts: list[dict[str, Any]] = [{"cpu_s": 0.2}, {"cpu_s": 1.0}, {"cpu_s": 0.8}, {"cpu_s": 0.0, "exit_code": 3}]
    return [process(rank, host="boot of node1", **facts[rank]) for rank in range(4)]


def test_ranks_of_one_host() -> None:
    """2 s of CPU time in 2 s, of 4 CPUs of which 2.5 were busy: (2/8 + 2/5) / 2 of the energy."""
    run = only_run(job(host(FAST, BUSY), processes=four_ranks()))
    around(run.metrics["energy_j"], truth_j())
    assert [rank.rank for rank in run.ranks] == [0, 1, 2, 3]
    assert {rank.host for rank in run.ranks} == {"node1"}
    for rank, cpu_s in zip(run.ranks, (0.2, 1.0, 0.8, 0.0), strict=True):
        assert rank.metrics["cpu_s"].value == cpu_s
        assert rank.metrics["runtime_s"].value == 2.0
        expected = truth_j() * cpu_s * (1 / 8 + 1 / 5) / 2
        assert rank.metrics["energy_share_j"].value == pytest.approx(expected, rel=0.03)
    made = math.fsum([*shares(run.ranks), number(run.metrics["energy_rest_j"].value)])
    assert made == run.metrics["energy_j"].value
    assert run.ranks[3].metadata == {"exit_code": 3, "signal": None}
    facts = {key: run.metadata[key] for key in ("size", "ranks", "exit_code", "failed_rank", "failed_ranks")}
    assert facts == {"size": 4, "ranks": 4, "exit_code": 3, "failed_rank": 3, "failed_ranks": 1}
    assert "missing_ranks" not in run.metadata


def test_a_single_program_has_no_ranks() -> None:
    root = analyse(recording(host(FAST, BUSY)), ASSUMED)
    run = root.nodes[0].nodes[0]
    assert (run.ranks, run.balance) == ([], [])
    assert not {"size", "ranks", "failed_rank"} & set(run.metadata)
    assert "clock_error_s" not in run.nodes[0].metadata


def test_who_failed_first_is_told_not_who_was_ended_for_it() -> None:
    """A launcher ends the other ranks, rank 0 among them, when rank 2 has failed."""
    ended = [process(rank, exit_code=None, signal=15)._replace(stop_ns=WINDOW[1] - (2 - rank) * MS) for rank in (0, 1)]
    made = job(host(FAST), processes=[*ended, process(2, exit_code=7)._replace(stop_ns=WINDOW[1] - 90 * MS)])
    run = only_run(made)
    assert [run.metadata[key] for key in ("exit_code", "signal", "failed_rank", "failed_ranks")] == [7, None, 2, 3]


def two_hosts() -> Recording:
    """Two hosts with clocks 100 s apart; the first one's rank ends after 0.8 s, the other's begin after 0.2 s."""
    other = FAST._replace(t0_ns=FAST.t0_ns + 100 * S, t1_ns=FAST.t1_ns + 100 * S)
    clocks = [
        [{"monotonic_ns": BOOT + shift + later, "realtime_ns": 10**18 + later + step} for later, step in ((0, 0), last)]
        for shift, last in ((0, (3 * S, 5 * MS)), (100 * S, (3 * S, 0)))
    ]
    early = process(0, host="boot of node1", cpu_s=0.5)._replace(stop_ns=WINDOW[0] + 800 * MS)
    late = [
        process(rank, host="boot of node2", cpu_s=0.3 * rank)._replace(start_ns=WINDOW[0] + 200 * MS) for rank in (1, 2)
    ]
    first = host(FAST, BUSY, host={"clocks": clocks[0]})
    return job(first, host(other, name="node2", host={"clocks": clocks[1]}), processes=[early, *late])


def test_the_energy_of_a_host_is_that_of_its_own_ranks_time() -> None:
    run = only_run(two_hosts())
    one, two = run.nodes
    around(one.metrics["energy_j"], truth_j(window=(WINDOW[0], WINDOW[0] + 800 * MS)))
    around(two.metrics["energy_j"], truth_j(window=(WINDOW[0] + 200 * MS, WINDOW[1])))
    assert [node.metrics["runtime_s"].value for node in (one, two)] == [0.8, 1.8]
    assert run.metrics["runtime_s"].value == 2.0
    assert run.metrics["energy_j"].value == pytest.approx(
        number(one.metrics["energy_j"].value) + number(two.metrics["energy_j"].value)
    )
    assert [(rank.rank, rank.host, rank.metrics["runtime_s"].value) for rank in run.ranks] == [
        (0, "node1", 0.8),
        (1, "node2", 1.8),
        (2, "node2", 1.8),
    ]
    for node in run.nodes:
        mine = shares([rank for rank in run.ranks if rank.host == node.id])
        assert math.fsum([*mine, number(node.metrics["energy_rest_j"].value)]) == node.metrics["energy_j"].value


def test_what_is_known_of_clocks_is_told_and_nothing_is_invented() -> None:
    one, two = only_run(two_hosts()).nodes
    assert (one.metadata["clock_error_s"], two.metadata["clock_error_s"]) == (None, None)
    assert (one.metadata["clock_step_s"], two.metadata["clock_step_s"]) == (0.005, 0.0)
    first, last = two_hosts().hosts[0].host["clocks"]
    for errors, expected in (((2_000, 5_000), 5e-6), ((2_000, None), None)):
        asked = [{**looked, "error_ns": error} for looked, error in zip((first, last), errors, strict=True)]
        both = host(rapl(), host={"clocks": asked}), host(rapl(), name="node2")
        assert only_run(recording(*both)).nodes[0].metadata["clock_error_s"] == expected
    half = host(rapl(), host={"clocks": [{"monotonic_ns": BOOT, "realtime_ns": 10**18}, None]})
    [node, _] = only_run(recording(half, host(rapl(), name="node2"))).nodes
    assert node.metadata["clock_step_s"] is None


def test_missing_ranks_make_at_least_and_are_listed() -> None:
    run = only_run(job(host(FAST, BUSY), processes=four_ranks(), size=30))
    assert run.metadata["missing_ranks"] == list(range(4, 24))
    assert run.metadata["missing_ranks_count"] == 26
    for name in ("energy_j", "power_w", "energy_share_j", "energy_rest_j", "co2e_kg", "disk_read_b", "cost"):
        metric = run.metrics[name]
        assert metric.upper is None
        assert metric.value is None or metric.missing == ("26 ranks",)
    assert run.metrics["overhead_cpu_s"].missing == ()
    assert "nothing was recorded of 26 ranks" in str(run.metrics["energy_j"].reason)
    run = only_run(job(host(FAST, BUSY), processes=four_ranks()[1:], size=4))
    assert run.metrics["energy_j"].missing == ("rank 0",)


def test_a_rank_whose_host_left_nothing_is_listed_without_a_share() -> None:
    lost = process(4, host="boot of node9", cpu_s=1.0)
    run = only_run(job(host(FAST, BUSY), host(FAST, name="node2"), processes=[*four_ranks(), lost]))
    assert [rank.host for rank in run.ranks] == ["node1"] * 4 + [""]
    share = run.ranks[-1].metrics["energy_share_j"]
    assert (share.value, share.reason) == (None, "nothing of its host was recorded")
    assert run.ranks[-1].metrics["cpu_s"].value == 1.0


def test_a_rank_that_was_not_reaped_has_no_cpu_time() -> None:
    made = [*four_ranks()[:3], process(3, host="boot of node1", cpu_s=None, exit_code=None)]
    seen = processes([20 * MIB, 40 * MIB], [0, 210], count=4)
    run = only_run(job(host(FAST, BUSY, seen), processes=made))
    cpu_s, share = (run.ranks[3].metrics[name] for name in ("cpu_s", "energy_share_j"))
    assert (cpu_s.value, share.value) == (None, None)
    assert "end was not recorded" in str(cpu_s.reason)
    assert all(rank.metrics["energy_share_j"].value is not None for rank in run.ranks[:3])
    assert (run.metadata["unended_ranks"], run.metadata["unended_ranks_count"]) == ([3], 1)
    assert run.metadata["exit_code"] is None  # that of the others isn't the job's
    assert "unended_ranks" not in only_run(job(host(FAST, BUSY, seen), processes=four_ranks())).metadata


def test_how_a_rank_failed_is_told_before_an_end_that_is_not_known() -> None:
    made = [process(0, cpu_s=None, exit_code=None), process(1, exit_code=3), process(2)]
    run = only_run(job(host(FAST, BUSY), processes=made))
    told = [run.metadata.get(key) for key in ("exit_code", "failed_rank", "failed_ranks", "unended_ranks")]
    assert told == [3, 1, 1, [0]]


def test_memory_that_nobody_has_told_is_missing_since_an_end_is() -> None:
    """The kernel tells a peak to who waits for a process; a sample would have told something."""
    made = [process(0, max_rss_b=50 * MIB), process(1, exit_code=None, cpu_s=None, max_rss_b=None)]
    [told, unknown] = only_run(job(host(FAST, BUSY), processes=made)).ranks
    assert told.metrics["memory_peak_b"].value == 50 * MIB
    assert unknown.metrics["memory_peak_b"].value is None
    assert "an end, which tells its peak, was not recorded" in str(unknown.metrics["memory_peak_b"].reason)


def test_memory_of_ranks_together_is_between_the_largest_and_their_sum() -> None:
    made = [process(rank, max_rss_b=(50 + rank) * MIB) for rank in range(3)]
    sampled = processes([20 * MIB, 120 * MIB], [0, 100], count=3)
    peak = only_run(job(host(FAST, sampled), processes=made)).metrics["memory_peak_b"]
    assert (peak.lower, peak.value, peak.upper) == (120 * MIB, 120 * MIB, 153 * MIB)
    others = processes([20 * MIB, 120 * MIB], [0, 100], count=4)
    run = only_run(job(host(FAST, others), processes=made))
    assert run.metrics["memory_peak_b"].upper is None
    assert [rank.metrics["memory_peak_b"].value for rank in run.ranks] == [50 * MIB, 51 * MIB, 52 * MIB]
    assert [rank.metrics["memory_peak_b"].upper for rank in run.ranks] == [None] * 3


def test_memory_of_ranks_that_were_too_short_is_their_sum_and_says_so() -> None:
    made = [process(rank, max_rss_b=(50 + rank) * MIB) for rank in range(3)]
    peak = only_run(job(host(FAST), processes=made)).metrics["memory_peak_b"]
    assert (peak.lower, peak.value, peak.upper) == (52 * MIB, 153 * MIB, None)
    assert "needn't coincide" in str(peak.method)


def test_a_region_left_open_ends_with_its_rank() -> None:
    """Rank 0 was killed after 0.8 s, in a region; rank 1 went on to 2 s."""
    killed = process(0, exit_code=None, signal=9)._replace(stop_ns=WINDOW[0] + 800 * MS)
    marks = [calls([("f", 100 * MS, 2_000 * MS)], rank=rank) for rank in (0, 1)]
    run = only_run(job(host(FAST, regions=tuple(marks)), processes=[killed, process(1)]))
    assert [region.metrics["runtime_s"].value for region in run.regions] == pytest.approx([0.7, 1.9])


def marked(rank: int, *intervals: tuple[int, int], cpu_ms: int) -> Any:
    return rounds(*([i] for i in intervals), rank=rank, cpu_ns=[cpu_ms * MS] * len(intervals))


def test_ranks_of_a_function_measured_in_place() -> None:
    """Rank 0 has two rounds, rank 1 one that lasts longer."""
    here = (
        marked(0, (100 * MS, 400 * MS), (700 * MS, 900 * MS), cpu_ms=100),
        marked(1, (100 * MS, 600 * MS), cpu_ms=300),
    )
    several, runs = result(in_place(host(FAST, BUSY, rounds=here), ranks=2)._replace(size=2))
    assert [[rank.rank for rank in run.ranks] for run in runs] == [[0, 1], [0]]
    zero, one = runs[0].ranks
    assert [rank.metrics["runtime_s"].value for rank in (zero, one)] == [0.3, 0.5]
    assert number(one.metrics["energy_share_j"].value) == pytest.approx(
        3 * number(zero.metrics["energy_share_j"].value)
    )
    assert runs[0].metrics["runtime_s"].value == 0.5
    facts = [[run.metadata.get(key) for key in ("size", "ranks", "missing_ranks")] for run in runs]
    assert facts == [[2, 2, None], [2, 1, [1]]]
    assert several.ranks == []


def test_a_rank_whose_call_did_not_end_is_told_from_one_that_raised() -> None:
    def fates(*failed: int) -> tuple[DataNode, list[DataNode]]:
        here = [
            marked(n, (100 * MS, 600 * MS), cpu_ms=100)._replace(failed=np.array([f])) for n, f in enumerate(failed)
        ]
        here = [one if not one.failed[0] else one._replace(cpu_ns=np.array([-1])) for one in here]
        return result(in_place(host(FAST, BUSY, rounds=tuple(here)), ranks=len(failed))._replace(size=len(failed)))

    _, [run] = fates(UNENDED, 0, RAISED)
    assert (run.metadata["failed_rank"], run.metadata["failed_ranks"], run.metadata.get("unended")) == (2, 2, None)
    assert [rank.metadata.get("unended") for rank in run.ranks] == [True, None, None]
    reasons = [str(rank.metrics["cpu_s"].reason) for rank in run.ranks]
    assert "the recording ends before the call did" in reasons[0]
    assert "not asked for" in reasons[2]
    several, [run] = fates(0, UNENDED)
    assert (run.metadata["failed_rank"], run.metadata["unended"]) == (1, True)
    assert run.metadata["unended_ranks"] == [1]
    text = render(DataNode("work", NodeType.APP, nodes=[several]))
    assert "rank 1: end not recorded" in text.splitlines()[0]
    assert "Failed, the first one first: end not recorded (rank 1)" in text


def test_regions_of_a_rank_are_those_in_its_own_round() -> None:
    """Rank 0 goes on to its second round while rank 1 is still in its first; rank 2 has no part in any."""
    here = (
        marked(0, (100 * MS, 400 * MS), (500 * MS, 900 * MS), cpu_ms=100),
        marked(1, (100 * MS, 600 * MS), (600 * MS, 700 * MS), cpu_ms=100),
    )
    regions = (
        calls([("f", 150 * MS, 350 * MS), ("f", 500 * MS, 650 * MS)], rank=0),
        calls([("f", 200 * MS, 590 * MS)], rank=1),
        calls([("f", 0, 900 * MS)], rank=2),
    )
    _, runs = result(in_place(host(FAST, BUSY, rounds=here, regions=regions), ranks=3)._replace(size=3))
    found = [[(r.rank, r.calls, number(r.metrics["runtime_s"].value)) for r in run.regions] for run in runs]
    assert found == [[(0, 1, pytest.approx(0.2)), (1, 1, pytest.approx(0.39))], [(0, 1, pytest.approx(0.15))]]


def test_a_host_has_no_part_in_rounds_of_others() -> None:
    """The second host's rank has one round, the first one's two: the truth of each is that of its own rounds."""
    one = host(FAST, BUSY, rounds=(marked(0, (100 * MS, 400 * MS), (700 * MS, 900 * MS), cpu_ms=100),))
    two = host(FAST, name="node2", rounds=(marked(1, (200 * MS, 600 * MS), cpu_ms=300),))
    made = in_place(one, two, ranks=2)
    named = tuple(p._replace(host=f"boot of node{p.rank + 1}") for p in made.processes)
    several, runs = result(made._replace(size=2, processes=named))
    assert [[node.id for node in run.nodes] for run in runs] == [["node1", "node2"], ["node1"]]
    of_each = [
        truth_j(window=(WINDOW[0] + a * MS, WINDOW[0] + b * MS)) for a, b in ((100, 400), (200, 600), (700, 900))
    ]
    around(runs[0].metrics["energy_j"], of_each[0] + of_each[1])
    around(runs[1].metrics["energy_j"], of_each[2])
    around(several.metrics["energy_j"], sum(of_each) / 2)
    assert several.metrics["energy_j"].n == 2
    assert several.metrics["energy_j"].upper is not None


def test_a_rank_that_did_not_call_is_not_missing_from_the_total() -> None:
    here = (marked(0, (100 * MS, 400 * MS), cpu_ms=100),)
    run = only_run(in_place(host(FAST, BUSY, rounds=here))._replace(size=2))
    assert run.metadata["missing_ranks"] == [1]
    assert run.metrics["energy_j"].missing == ()


def test_gpus_of_a_host_in_a_job() -> None:
    gpu = Sensor("nvml:gpu0", "nvml", "gpu", "power", GAUGE, "W", 1e-3, tick_ns=20 * MS, domain="gpu", identity="GPU-a")
    watts = stream([gpu], range(BOOT + 400 * MS, BOOT + 2_700 * MS, 20 * MS), lambda _, t: (t - BOOT) // MS * 20)
    run = only_run(job(host(FAST, BUSY, watts), processes=four_ranks()))
    idle = run.ranks[3].metrics["energy_share_j"]
    assert idle.value == pytest.approx(number(run.metrics["gpu_energy_j"].value) / 4)
    assert (idle.lower, idle.upper) == pytest.approx((0, number(run.metrics["gpu_energy_j"].upper)))


def test_self_check_finds_what_is_wrong_with_ranks() -> None:
    root = analyse(job(host(FAST, BUSY), processes=four_ranks()), ASSUMED)
    run = root.nodes[0].nodes[0]
    good = list(run.ranks)
    share = good[1].metrics["energy_share_j"]
    more = share._replace(value=number(share.value) + math.ulp(number(run.metrics["energy_j"].value)))
    wrongs = [
        (good[1]._replace(metrics={**good[1].metrics, "energy_share_j": more}), "don't make"),
        (good[1]._replace(host="node7"), "is on node7, which isn't there"),
        (good[1]._replace(rank=0), "has a rank twice"),
        (good[1]._replace(metrics={**good[1].metrics, "runtime_s": Metric(-1.0, "s")}), "is negative"),
    ]
    for wrong, words in wrongs:
        run.ranks = [good[0], wrong, *good[2:]]
        assert any(words in problem for problem in self_check(root)), words
    run.ranks = good[:3]
    assert "RUN 0 has 3 ranks and lacks 0 of 4" in self_check(root)
