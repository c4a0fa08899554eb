"""The report's lines with a figure each: columns, notes, costs. Truth: written by hand."""

from __future__ import annotations

import pytest
import report_trees as trees

from perun_like.model.node import Metric
from perun_like.report.text import render


def line_with(text: str, start: str) -> str:
    """The line whose first word is this."""
    return next(line for line in text.splitlines() if line.split()[:1] == [start])


COSTS = [
    ((3.436e-5, 3.37e-5, 3.51e-5), 80, "of 1M 34.36 EUR ± 0.74 EUR measured a million runs, 0.3 EUR/kWh"),
    ((3.436e-5, 3.37e-5, 3.51e-5), 60, "of 1M 34.36 EUR ± 0.74 EUR measured"),
    ((12.346, 12.3, 12.4), 80, "12.35 EUR ± 0.05 EUR measured 0.3 EUR/kWh"),
    ((1234.5, 1200.0, 1300.0), 80, "1230 EUR 1200 to 1300 EUR measured 0.3 EUR/kWh"),
    ((0.0123, 0.0043, 0.0301), 80, "0.012 EUR 0.0043 to 0.031 EUR measured 0.3 EUR/kWh"),
]


@pytest.mark.parametrize(("amounts", "width", "expected"), COSTS)
def test_costs(amounts: tuple[float, float, float], width: int, expected: str) -> None:
    metrics = trees.common() | {"cost": Metric(amounts[0], "EUR", *amounts[1:], method="0.3 EUR/kWh")}
    text = render(trees.tree("x", trees.run_node(metrics)), width=width)
    assert " ".join(line_with(text, "Cost").split()) == f"Cost {expected}"


def test_a_tiny_cost_that_lacks_parts_is_still_that_of_a_million_runs() -> None:
    assert "at least 33.7 EUR  measured   a million runs" in line_with(render(trees.partial()), "Cost")


def test_figures_stand_in_columns() -> None:
    lines = render(trees.measured()).splitlines()[3:8]
    for word in ("±", "measured"):
        assert len({line.index(word) for line in lines if word in line}) == 1


def test_what_has_no_room_beside_a_figure_is_told_below() -> None:
    text = render(trees.measured())
    assert "g/kWh" not in line_with(text, "CO2e")
    assert "\n  CO2e: world average 2024, 473 g/kWh; bounds span all countries: see --country\n" in text


def test_half_of_a_pair_that_is_missing_is_told_with_the_reason() -> None:
    metrics = trees.common() | {"disk_write_b": Metric.absent("B", "no disk")}
    text = render(trees.tree("x", trees.run_node(metrics)))
    assert "12.3 MiB read, written unknown  measured  whole host, no disk" in line_with(text, "Disk")


def test_the_share_of_a_cpu_is_told_where_it_says_something() -> None:
    assert "45.2 ms of CPU time (1.0 % of a CPU)" in render(trees.measured())
    text = render(trees.tree("x", trees.run_node(trees.common(runtime_s=0.1))))
    assert "45.2 ms of CPU time, read every" in text  # most of it was before and after so short a run
