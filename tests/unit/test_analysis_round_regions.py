"""Regions of rounds, and their means. Truth: the simulated machine's power while they were active."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from recordings import (
    MS,
    S,
    calls,
    host,
    in_place,
    number,
    repeated,
    rounds,
)
from rounds_of_runs import FAST, THREE, around, result, true_j

from perun_like.model.node import DataNode


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
    killed = calls([("solve", 200 * MS, last)])._replace(pid=100)
    fine = calls([("solve", 800 * MS, 900 * MS)])._replace(pid=101)
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
