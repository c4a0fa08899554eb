"""The benchmarks run, and their ratios are not absurd. Times of a machine that does other things too prove nothing."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# Figures that say something even here, and what they can't reasonably exceed; of the others it is checked that they
# were had. Most are ratios to a floor that was measured in the same run.
GENEROUS: dict[str, dict[str, float]] = {
    "imports.py": {"import perun_like to an interpreter that does nothing": 4, "heavy packages that it brings": 0},
    "regions.py": {"region to the clock and an empty with": 30},
    "sampling.py": {"sampler to the floor, CPU time a sample": 10},
    "saving.py": {
        "the same to h5py with gzip 1": 10,
        "the same to two look-ups a call": 200,
        "the same to the csv module": 10,
        "memory for ten times the rows": 2,
        "size of a million samples": 20,
        "size where units don't invert": 30,
    },
    "scaling_ranks.py": {
        "summary of a host": 8,
        "merge: memory for a host more to its samples": 15,
        "host files: memory for a host more to its samples": 30,
    },
    "short_calls.py": {},
    "slowdown.py": {},
    "startup.py": {"added to pass.py to the import of h5py": 15},
    "long_runs.py": {"a tenth: size to what was allowed": 1, "the table's last time to the file's": 0},
    "soak.py": {"anonymous memory of the sampler": 24, "descriptors more": 0},
    "accuracy.py": {
        "runs of 1 s and more every 100ms, median error": 2,
        "regions of 100 ms every 1ms, median error": 5,
        "wrong figures where reads fail": 0,
    },
}
AT_LEAST: dict[str, dict[str, float]] = {
    "short_calls.py": {"truth within the 95 % interval": 60},
    "accuracy.py": {"truth within hard bounds": 100, "runs and regions with hard bounds": 20},
    "long_runs.py": {"all samples: truth within the bounds": 1, "a tenth: truth within the bounds": 1},
}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import harness  # type: ignore[import-not-found]  # a script's neighbour, no package

    return harness


@pytest.mark.parametrize("name", GENEROUS)
def test_a_quick_run_is_complete_and_plausible(name: str, tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    command = [sys.executable, str(BENCHMARKS / name), "--quick", "--json", str(path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if "needs FUSE" in ended.stdout:
        pytest.skip(ended.stdout.splitlines()[1])
    figures = {target["what"]: target["figure"] for target in json.loads(path.read_text())["targets"]}
    assert figures
    for what, figure in figures.items():
        assert what in ended.stdout
        assert figure is None or math.isfinite(figure)
    assert {what: figures[what] for what, limit in GENEROUS[name].items() if figures[what] > limit} == {}
    for what, limit in AT_LEAST.get(name, {}).items():
        assert figures[what] >= limit


def test_the_interval_of_a_median_is_that_of_the_binomial_distribution(harness: Any) -> None:
    # From tables of the sign test: of 6 values the extremes, of 20 the 6th and the 15th, of 40 the 14th and the 27th.
    for n, rank in ((2, 1), (6, 1), (20, 6), (40, 14)):
        found = harness.spread([float(value) for value in range(n, 0, -1)])
        assert (found.low, found.high, found.median, found.n) == (rank, n + 1 - rank, (n + 1) / 2, n)


def test_a_percentile_is_a_value_that_so_many_do_not_exceed(harness: Any) -> None:
    for values in combinations_with_replacement((1.0, 2.0, 5.0), 4):
        for percent in (1, 25, 50, 95, 100):
            found = harness.percentile(values, percent)
            assert sum(value <= found for value in values) >= percent / 100 * len(values)
            assert sum(value < found for value in values) < percent / 100 * len(values)


def test_runs_take_turns(harness: Any) -> None:
    calls: list[str] = []

    def measure(name: str) -> Callable[[], float]:
        def run() -> float:
            calls.append(name)
            return float(len(calls))

        return run

    found = harness.interleaved({name: measure(name) for name in "abc"}, 4)
    assert calls == [*"abccbaabccba"]
    assert {name: statistics.mean(values) for name, values in found.items()} == {"a": 6.5, "b": 6.5, "c": 6.5}
