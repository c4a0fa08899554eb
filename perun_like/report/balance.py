"""Regions of a job: a line each, whatever the number of ranks, with the imbalance and the rank that was slowest."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.model.node import Balance, DataNode, Metric
from perun_like.report import format as form
from perun_like.report.page import BOLD, DIM, YELLOW, Cell, Page
from perun_like.report.tables import (
    STATISTICAL,
    as_sure,
    bar,
    bounds_of,
    common_word,
    figure_cell,
    fitting,
    folded,
    header,
    is_statistical,
    short_names,
    too_short,
)

_UNEVEN = 20.0  # percent: more is worth a look
_BAR = 3
_NOTHING = Metric.absent("", "not recorded")


def balance_table(page: Page, run: DataNode) -> list[str]:
    """Regions over ranks, the hungriest first."""
    balances = sorted(run.balance, key=lambda balance: -_of(balance, "energy_j_mean"))
    if not balances:
        return []
    energies = [balance.metrics["energy_j_mean"] for balance in balances]
    word = common_word(energies)
    some = {balance.ranks for balance in balances} != {run.metadata.get("ranks")}
    titles = ["Region", *([">ranks"] if some else []), ">calls", ">mean time", ">longest", ">slowest", ">imbalance"]
    names = short_names(page, {balance.name for balance in balances})
    cells = [header(*titles, ">energy", word)]
    cells += [_row(page, balance, names[balance.name], word, some=some) for balance in balances]
    longest, calls, rank = (len(cells[0]) - back for back in (5, 7, 4))  # the imbalance says most of them
    lines = folded(page, page.table(fitting(page, cells, (longest, calls, rank))), "regions")
    return lines + _footnotes(page, run, energies)


def _of(balance: Balance, name: str) -> float:
    return float(balance.metrics.get(name, _NOTHING).value or 0.0)


def _row(page: Page, balance: Balance, name: str, word: str, *, some: bool) -> list[Cell]:
    energy, slowest = balance.metrics["energy_j_mean"], balance.at.get("runtime_s_max")
    short, bounds = too_short(energy), bounds_of(energy, word)
    alone = balance.ranks < 2  # nobody to be compared with
    return [
        Cell(name),
        *([Cell(f"{balance.ranks:,}", right=True)] if some else []),
        Cell(f"{balance.calls:,}", right=True),
        figure_cell(balance.metrics["runtime_s_mean"]),
        Cell("") if alone else figure_cell(balance.metrics["runtime_s_max"]),
        Cell("" if slowest is None else str(slowest), (DIM,), right=True),
        Cell("") if alone else _imbalance(page, balance.metrics["imbalance_percent"]),
        figure_cell(as_sure(energy), *(() if short else (BOLD,))),
        Cell(bounds, (YELLOW,) if short else (DIM,)),
    ]


def _imbalance(page: Page, metric: Metric) -> Cell:
    """The figure beside a bar that is full at 100 %."""
    if metric.value is None:
        return Cell("unknown", (DIM,), right=True)
    text = bar(metric.value / 100, _BAR, ascii_only=page.ascii_only).ljust(_BAR)
    codes = (YELLOW,) if metric.value > _UNEVEN else ()
    figure = form.number(metric.value, "%", 2) if metric.value < 1000 else f"{metric.value:,.0f} %"
    return Cell(f"{text} {figure if metric.value >= 0.1 else '0 %':>5}", codes, right=True)


def _footnotes(page: Page, run: DataNode, energies: Sequence[Metric]) -> list[str]:
    notes = [
        "Times and energy: means over the ranks; energy is that of a rank's whole host meanwhile. Imbalance: by how "
        "much the longest time exceeds the mean."
    ]
    if any(map(too_short, energies)):
        period = run.metadata.get("period_ns")
        read = f" every {form.period(period)}" if period else ""
        notes.append(f"* too short to be resolved by reads{read}: see --period")
    notes += [STATISTICAL] * any(map(is_statistical, energies))
    return [line for note in notes for line in page.paragraph(note, DIM)]
