"""What all benchmarks share: interleaved measurements, medians with intervals, tables, and targets.

A target's ``--json`` line is what tests look at; people read the tables.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

PYTHON = sys.executable
PERUN = os.path.join(os.path.dirname(PYTHON), "perun-like")
TESTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests")
MS, S = 1_000_000, 1_000_000_000


class Spread(NamedTuple):
    """A median, and the interval that contains the true one with 95 % confidence or more."""

    median: float
    low: float
    high: float
    n: int

    def cells(self, digits: int) -> tuple[str, str]:
        """The median and the interval, as a table shows them."""
        return f"{self.median:.{digits}f}", f"{self.low:.{digits}f} to {self.high:.{digits}f}"


@dataclass(frozen=True)
class Target:
    """A figure that is to be at most, or at least, so much; None where it couldn't be measured."""

    what: str
    unit: str
    figure: float | None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether it is; None if nobody knows."""
        if self.figure is None:
            return None
        return (self.at_most is None or self.figure <= self.at_most) and (
            self.at_least is None or self.figure >= self.at_least
        )


@dataclass
class Report:
    """Prints tables as they come, and the targets at the end."""

    name: str
    targets: list[Target] = field(default_factory=list[Target])

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows under a title; the first column is text, the others are numbers as they are to be read."""
        texts = [columns, *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
        print(f"\n{title}")
        for row in texts:
            first, *others = (
                f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}"
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            print("  ".join([first, *others]).rstrip())
        sys.stdout.flush()

    def target(
        self, what: str, figure: float | None, unit: str, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Compare a figure with what it is to be."""
        self.targets.append(Target(what, unit, figure, at_most, at_least))

    def close(self, path: str | None) -> None:
        """Print the targets, and write them to a file if one is wanted."""
        words = {True: "met", False: "MISSED", None: "not measured"}
        rows = [(t.what, _figure(t.figure, t.unit), _limit(t), words[t.met]) for t in self.targets]
        self.table("targets", ["", "figure", "target", ""], rows)
        print(f"load at the end: {_load()}")
        if path is not None:
            with open(path, "w") as file:
                json.dump({"name": self.name, "targets": [{**asdict(t), "met": t.met} for t in self.targets]}, file)


def begin(doc: str | None, **options: tuple[int, int, str]) -> tuple[Report, argparse.Namespace]:
    """Read the command line and say what machine this is.

    Args:
        doc: The benchmark's docstring; its first line describes it.
        options: Numbers that can be chosen: their default, the default of ``--quick``, and what they are.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that it works, not how fast it is")
    parser.add_argument("--json", metavar="FILE", help="write the targets there too")
    for name, (full, quick, text) in options.items():
        parser.add_argument(f"--{name}", type=int, help=f"{text} (default: {full}; {quick} with --quick)")
    given = parser.parse_args()
    for name, (full, quick, _) in options.items():
        if getattr(given, name) is None:
            setattr(given, name, quick if given.quick else full)
    print(machine())
    return Report(os.path.basename(sys.argv[0])), given


def machine() -> str:
    """What this was measured on, and when."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "?")
    today = dt.datetime.now(dt.timezone.utc).date()
    return (
        f"{today}, {os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load at the start: {_load()}"
    )


def interleaved(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure each in turn, every other round in reverse order: whatever the machine does meets all alike."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        order = list(measures) if number % 2 == 0 else list(measures)[::-1]
        for name in order:
            found[name].append(measures[name]())
    return found


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """Ratio of each pair."""
    return [a / b for a, b in zip(of, to, strict=True)]


def spread(values: Sequence[float]) -> Spread:
    """Median and its interval from the order of the values alone: nothing is assumed of their distribution."""
    ordered, n = sorted(values), len(values)
    low = _rank_below(n)
    return Spread(statistics.median(ordered), ordered[low], ordered[n - 1 - low], n)


def _rank_below(n: int) -> int:
    """The largest k so that the median lies below the k-th smallest of n values in at most 2.5 % of cases."""
    total, k = 0.0, 0
    while k < n and (total := total + math.comb(n, k) / 2**n) <= 0.025:
        k += 1
    return max(k - 1, 0)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values don't exceed; nan of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else math.nan


def clean_environ() -> dict[str, str]:
    """The environment without settings of ours, another active environment, and what keeps modules uncompiled."""
    unwanted = ("PERUN_", "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}


def nvml_stub() -> Any:
    """The tests' library that plays an NVIDIA driver; None without a C compiler to build it."""
    if TESTS not in sys.path:
        sys.path.append(TESTS)
    stub = importlib.import_module("nvml_stub")
    return stub if stub.compiler() is not None else None


def _limit(target: Target) -> str:
    if target.at_most is not None:
        return f"<= {target.at_most:g} {target.unit}".rstrip()
    return f">= {target.at_least:g} {target.unit}".rstrip()


def _figure(figure: float | None, unit: str) -> str:
    return "-" if figure is None else f"{figure:.3g} {unit}".rstrip()


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.readlines()
    except OSError:
        return []
