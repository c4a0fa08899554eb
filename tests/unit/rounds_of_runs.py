"""What tests of runs of several rounds have in common. The truth is the simulated machine's power, integrated."""

from __future__ import annotations

import pytest
from recordings import (
    ADDED,
    MS,
    WINDOW,
    number,
    rapl,
    stream,
    truth_j,
)

from perun_like.analysis.emissions import Assumptions
from perun_like.analysis.tree import analyse
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, Metric
from perun_like.model.recording import Recording, Stream
from perun_like.model.serial import from_dict, to_dict
from perun_like.sensing.contract import GAUGE, Sensor

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
