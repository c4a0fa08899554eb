"""Jobs on several hosts: a line each, the largest first where there are many, and what their devices used in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from perun_like.model.node import DataNode, Metric, Provenance
from perun_like.report import format as form
from perun_like.report.figures import metric_of
from perun_like.report.page import BOLD, DIM, YELLOW, Cell, Page
from perun_like.report.tables import figure_cell, fitting, header

_MOST = 8
_LARGEST = 5  # of more than that
_KINDS = ("cpu", "dram", "gpu")
_METHOD = 230  # columns of the longest method told
_STEP_S = 0.01  # by which a clock may drift in a day without anybody setting it


def host_table(page: Page, run: DataNode) -> list[str]:
    """Energy of each host, whose it is, and its load; of many hosts those that used most, and their mean."""
    hosts = run.nodes
    if len(hosts) < 2:
        return []
    shown = hosts
    if len(hosts) > _MOST + 1:
        shown = sorted(hosts, key=lambda host: -(metric_of(host, "energy_j").value or 0))[:_LARGEST]
    ranks = Counter(rank.host for rank in run.ranks)
    words = {metric_of(host, "energy_j").provenance for host in shown}
    word = next(iter(words)).value if len(words) == 1 else ""
    cells = [header("Host", ">ranks", ">energy", word, ">program", ">idle, others", ">CPU load")]
    cells += [_row(host, ranks[host.id], word) for host in shown]
    if len(shown) < len(hosts):
        cells.append(_mean(hosts, len(run.ranks)))
    lines = page.table(fitting(page, cells, (3, 5, 1)))
    more = len(hosts) - len(shown)
    return [*lines, page.paint(page.clean(f"  … {more:,} more hosts in the file"), DIM)] if more else lines


def _row(host: DataNode, ranks: int, word: str) -> list[Cell]:
    energy = metric_of(host, "energy_j")
    bounds = form.show(energy).bounds + ("" if word else f" {energy.provenance.value}")
    return [
        Cell(host.id),
        Cell(f"{ranks:,}", right=True),
        figure_cell(energy, BOLD),
        Cell(bounds, (DIM,) if energy.provenance is Provenance.MEASURED else (YELLOW,)),
        *(figure_cell(metric_of(host, name)) for name in ("energy_share_j", "energy_rest_j", "cpu_util_percent")),
    ]


def _mean(hosts: Sequence[DataNode], ranks: int) -> list[Cell]:
    names = ("energy_j", "energy_share_j", "energy_rest_j", "cpu_util_percent")
    energy, *others = (_mean_cell([metric_of(host, name) for host in hosts]) for name in names)
    count = f"{ranks / len(hosts):.3g}"
    return [Cell(f"mean of {len(hosts):,}", (DIM,)), Cell(count, (DIM,), right=True), energy, Cell(""), *others]


def _mean_cell(metrics: Sequence[Metric]) -> Cell:
    known = [metric.value for metric in metrics if metric.value is not None]
    if not known:
        return Cell("not available", (DIM,), right=True)
    mean, unit = sum(known) / len(known), metrics[0].unit
    return Cell(form.percent(mean) if unit == "%" else form.number(mean, unit), (DIM,), right=True)


def kind_table(page: Page, run: DataNode) -> list[str]:
    """What devices of each kind used on all hosts together."""
    runtime_s = metric_of(run, "runtime_s").value
    cells = [header("Devices", ">energy", "", ">power", "from")]
    notes: list[str] = []
    for kind in _KINDS:
        energy = metric_of(run, f"{kind}_energy_j")
        if energy.value is None:
            continue
        power = form.number(energy.value / runtime_s, "W") if runtime_s else ""
        colour = DIM if energy.provenance is Provenance.MEASURED else YELLOW
        bounds = form.show(energy).bounds
        cells.append(
            [
                Cell(kind),
                figure_cell(energy),
                Cell(bounds, (DIM,)),
                Cell(power, right=True),
                Cell(f"{energy.provenance.value}, {_where(run, kind)}", (colour,)),
            ]
        )
        if energy.method:
            notes += page.paragraph(page.shorten(f"{kind}: {energy.method}", _METHOD), DIM, indent="    ")
    return [*page.table(cells, flexible=4), *notes] if len(cells) > 1 else []


def _where(run: DataNode, kind: str) -> str:
    having = sum(metric_of(host, f"{kind}_energy_j").value is not None for host in run.nodes)
    return f"{having:,} hosts" if having == len(run.nodes) else f"{having:,} of {len(run.nodes):,} hosts"


def clocks(page: Page, run: DataNode) -> list[str]:
    """How sure it is that what happened at one time on several hosts is shown at one time."""
    if len(run.nodes) < 2:
        return []
    errors = [host.metadata.get("clock_error_s") for host in run.nodes]
    known = [float(error) for error in errors if error is not None]
    error = f"error up to {form.number(max(known), 's', 2)}" if len(known) == len(errors) else "error unknown"
    text = f"Clocks of {len(run.nodes):,} hosts compared by their real time: {error}"
    step_s = max((float(host.metadata.get("clock_step_s") or 0) for host in run.nodes), default=0.0)
    if step_s < _STEP_S:
        return page.paragraph(text, DIM)
    return page.paragraph(f"{text}, one of them moved by {form.number(step_s, 's', 2)} meanwhile", YELLOW)
