"""What several rounds were on the mean: how well that was measured, and how far the rounds differ.

These are two things, and stand in columns of their own: bounds narrow with better sensors, the confidence interval
with more rounds.
"""

from __future__ import annotations

from collections.abc import Iterator

from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Region
from perun_like.report import format as form
from perun_like.report.balance import balance_table
from perun_like.report.figures import answer_of, explained, figures, metric_of, notes_on, reason, unavailable
from perun_like.report.page import BOLD, DIM, YELLOW, Cell, Page
from perun_like.report.tables import figure_cell, folded, header, short_names, too_short, used, width_of, with_bars

_TIME = {"Time": "runtime_s"}
_NOTHING = Metric.absent("J", "not recorded")


def total_rounds(whole: DataNode) -> int:
    """How many rounds there were, whether they have a node or not."""
    return int(whole.metadata.get("rounds", len(whole.nodes)))


def recorded_rounds(whole: DataNode) -> int:
    """How many of them are in the file."""
    return total_rounds(whole) - int(whole.metadata.get("only_counted", 0))


def mean_run(whole: DataNode) -> DataNode:
    """A run that is the mean of all rounds: its figures and regions are theirs, its facts those of the first."""
    first = whole.nodes[0]
    metrics = {name: _of_a_round(metric) for name, metric in whole.metrics.items()}
    return DataNode("mean", NodeType.RUN, metrics, first.nodes, first.metadata, whole.regions, balance=whole.balance)


def _of_a_round(metric: Metric) -> Metric:
    """A metric whose method is that of its rounds: that it is a mean is said once for all."""
    first, _, others = (metric.method or "").partition("; ")
    return metric._replace(method=others or None) if first.startswith("mean of ") else metric


def mean_table(page: Page, mean: DataNode, whole: DataNode) -> list[str]:
    """Means, their bounds, and how far the rounds differ."""
    rows = [header("Mean", "", "bounds", "", "std", "95 % confidence")]
    missing: dict[str, str] = {}
    notes = dict.fromkeys(_about(whole))
    for label, name in (_TIME | answer_of(mean)).items():
        metric = metric_of(mean, name)
        if metric.value is None or _is_of_few(metric, mean, whole):
            missing[label.replace("  program", "the program's share").strip()] = reason(metric)
            continue
        label, shown, texts = explained(mean, label, name, metric)
        rows.append(_row(label, shown))
        texts = notes_on(metric._replace(missing=shown.missing) if name == "energy_j" else shown, texts)
        texts += [metric.reason] if metric.reason else []
        notes |= dict.fromkeys([f"{label.strip()}: {'; '.join(dict.fromkeys(texts))}"] if texts else [])
    lines = page.table(_fitting(page, rows), flexible=2) if len(rows) > 1 else []
    below = [line for note in notes for line in page.paragraph(note, DIM, indent="    ")]
    return [*lines, *unavailable(page, missing), *below]


def _is_of_few(metric: Metric, mean: DataNode, whole: DataNode) -> bool:
    """Whether a mean is one of much fewer rounds than that of the energy, beside which it can't stand."""
    known = metric_of(mean, "energy_j").n
    return metric.n is not None and known is not None and metric.n < min(known, len(whole.nodes)) / 2


def _row(label: str, metric: Metric) -> list[Cell]:
    shown = form.show(metric)
    colour = DIM if metric.provenance is Provenance.MEASURED else YELLOW
    half = _half(metric)
    return [
        Cell(label),
        Cell(shown.value, (BOLD,) if label == "Energy" else ()),
        Cell(shown.bounds),
        Cell(metric.provenance.value, (colour,)),
        Cell("" if metric.std is None else form.difference(metric.std, metric)),
        Cell("" if half is None else f"± {half}"),
    ]


def _fitting(page: Page, rows: list[list[Cell]]) -> list[list[Cell]]:
    """A table of means without its last columns but one, or two, if it is too wide: figures are never cut."""
    for column in (4, 4):  # first the standard deviation, which the interval follows from
        if width_of(page, rows) > page.width:
            rows = [[*row[:column], *row[column + 1 :]] for row in rows]
    return rows


def _half(metric: Metric) -> str | None:
    """Half of the confidence interval."""
    if metric.ci95 is None:
        return None
    return form.difference((metric.ci95[1] - metric.ci95[0]) / 2, metric)


def _about(whole: DataNode) -> Iterator[str]:
    """What the means are of, and what the columns say."""
    yield "bounds: how well the mean is measured; std, confidence: how far rounds differ"
    failed, lost, warmup = (whole.metadata.get(key) for key in ("failed", "only_counted", "warmup"))
    if failed:
        yield f"the {_rounds(failed)} that failed {'is' if failed == 1 else 'are'} in the means"
    if lost:
        yield f"{_rounds(lost)} only counted: beyond the budget for marks"
    if warmup:
        yield f"{_rounds(warmup)} before these, to warm up, not recorded"


def _rounds(count: int) -> str:
    return f"{count:,} round{'' if count == 1 else 's'}"


def mean_figures(page: Page, mean: DataNode, whole: DataNode) -> list[str]:
    """Memory, load, input and output of a round."""
    lines = figures(page, mean)
    some = _rounds(len(whole.nodes))
    of = f"the first {some}" if len(whole.nodes) < recorded_rounds(whole) else some
    return [page.paint(f"  Means of {of}:", DIM), *lines] if lines else []


def mean_region_table(page: Page, mean: DataNode, whole: DataNode) -> list[str]:
    """Regions, the hungriest first: what they were in the rounds in which they were active."""
    if mean.balance:
        return balance_table(page, mean)
    regions = sorted(mean.regions, key=used, reverse=True)
    if not regions:
        return []
    ranks = len({region.rank for region in regions}) > 1
    names = short_names(page, {region.name for region in regions})
    titles = ["Region", *([">rank"] if ranks else []), ">rounds", ">calls", ">time", ">energy", "95 %"]
    cells = [header(*titles), *(_region(region, names[region.name], ranks=ranks) for region in regions)]
    total = metric_of(mean, "energy_j").value
    if total:
        cells = with_bars(page, cells, [used(region) / total for region in regions])
    return folded(page, page.table(cells), "regions") + _footnotes(page, mean, whole)


def _region(region: Region, name: str, *, ranks: bool) -> list[Cell]:
    energy, runtime = region.metrics.get("energy_j", _NOTHING), region.metrics.get("runtime_s", _NOTHING)
    short, half = too_short(energy), _half(energy)
    interval = " ".join(filter(None, ("" if half is None else f"± {half}", "*" if short else "")))
    return [
        Cell(name),
        *([Cell(str(region.rank), right=True)] if ranks else []),
        Cell("" if runtime.n is None else f"{runtime.n:,}", right=True),
        Cell(f"{region.calls:,}", right=True),
        figure_cell(runtime),
        figure_cell(energy, *(() if short else (BOLD,))),
        Cell(interval, (YELLOW,) if short else (DIM,)),
    ]


def _footnotes(page: Page, mean: DataNode, whole: DataNode) -> list[str]:
    words = {region.metrics.get("energy_j", _NOTHING).provenance.value for region in mean.regions}
    what = " and ".join(sorted(words - {Provenance.MISSING.value}))
    notes = [f"Time and energy ({what}) of a round: means of those in which the region was active; calls: of all."]
    if len(whole.nodes) < recorded_rounds(whole):
        notes.append(f"Regions of the first {len(whole.nodes)} rounds.")
    if any(too_short(region.metrics.get("energy_j", _NOTHING)) for region in mean.regions):
        period = mean.metadata.get("period_ns")
        read = f" every {form.period(period)}" if period else ""
        notes.append(f"* too short to be resolved by reads{read} in a single round: a mean of estimates")
    return [line for note in notes for line in page.paragraph(note, DIM)]
