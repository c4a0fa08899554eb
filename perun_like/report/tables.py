"""Tables of the report: regions and rounds, and what tables have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perun_like.model.node import DataNode, Metric, Provenance, Region
from perun_like.report import format as form
from perun_like.report.page import BOLD, CYAN, DIM, RED, YELLOW, Cell, Page, columns

MOST_ROWS = 15
_NAME = 32  # columns of the longest name
_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"
_WIDE = 0.5  # as in the analysis, which says so in the metric's method
STATISTICAL = "** an estimate by how energy follows many short calls, with a 95 % interval"
_NOTHING = Metric.absent("J", "not recorded")


def header(*titles: str) -> list[Cell]:
    """Titles of columns; one that starts with ``>`` is aligned right, as its column is."""
    return [Cell(title.lstrip(">"), (DIM,), title.startswith(">")) for title in titles]


def figure_cell(metric: Metric | None, *codes: str) -> Cell:
    """A figure without its bounds, aligned right."""
    if metric is None or metric.value is None:
        return Cell("not available", (DIM,), right=True)
    return Cell(form.show(metric).value, codes, right=True)


def region_table(page: Page, run: DataNode) -> list[str]:
    """Regions, the hungriest first: what the hosts' devices used while each was active."""
    regions = sorted(run.regions, key=used, reverse=True)
    if not regions:
        return []
    word = common_word([region.metrics.get("energy_j", _NOTHING) for region in regions])
    ranks = len({region.rank for region in regions}) > 1
    total = run.metrics.get("energy_j", _NOTHING).value
    titles = ["Region", *([">rank"] if ranks else []), ">calls", ">time", ">energy", word]
    cells = [header(*titles)]
    names = short_names(page, {region.name for region in regions})
    cells += [_region(region, names[region.name], ranks=ranks, word=word) for region in regions]
    if total:
        cells = with_bars(page, cells, [used(region) / total for region in regions])
    lines = folded(page, page.table(cells), "regions")
    return lines + _footnotes(page, run, regions)


def used(region: Region) -> float:
    """A region's energy, to sort by."""
    return float(region.metrics.get("energy_j", _NOTHING).value or 0)


def short_names(page: Page, names: set[str]) -> dict[str, str]:
    """Names that fit, by name; those that would look alike lose what they have in common, if that is whole words."""
    short = {name: page.shorten(page.clean(name), _NAME) for name in names}
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(short[name], []).append(name)
    for group in alike.values():
        if len(group) > 1:
            short |= {name: page.shorten(page.clean(text), _NAME) for name, text in _differences(group).items()}
    return short


def _differences(names: Sequence[str]) -> dict[str, str]:
    """``…B.f`` for ``a.long.path.B.f``, beside another one's ``…C.f``."""
    words = {name: name.split(".") for name in names}
    most = min(map(len, words.values())) - 1
    head = min(_alike(list(words.values())), most)
    tail = min(_alike([each[::-1] for each in words.values()]), most - head)
    return {
        name: "…" * bool(head) + ".".join(each[head : len(each) - tail]) + "…" * bool(tail)
        for name, each in words.items()
    }


def _alike(names: Sequence[Sequence[str]]) -> int:
    """How many words at their beginning are the same in all names."""
    words = list(zip(*names, strict=False))  # as far as the shortest goes
    return next((index for index, those in enumerate(words) if len(set(those)) > 1), len(words))


def _region(region: Region, name: str, *, ranks: bool, word: str) -> list[Cell]:
    energy = region.metrics.get("energy_j", _NOTHING)
    short, bounds = too_short(energy), bounds_of(energy, word)
    return [
        Cell(name),
        *([Cell(str(region.rank), right=True)] if ranks else []),
        Cell(f"{region.calls:,}", right=True),
        figure_cell(region.metrics.get("runtime_s")),
        figure_cell(as_sure(energy), *(() if short else (BOLD,))),
        Cell(bounds, (YELLOW,) if short else (DIM,)),
    ]


def as_sure(energy: Metric) -> Metric:
    """An energy as it is shown: where statistics over many calls say what it is, with their interval for its bounds."""
    if not is_statistical(energy) or energy.ci95 is None:
        return energy
    return energy._replace(lower=energy.ci95[0], upper=energy.ci95[1])


def common_word(energies: Sequence[Metric]) -> str:
    """How all were had, for a column's title; empty if they differ."""
    words = {energy.provenance.value for energy in energies}
    return words.pop() if len(words) == 1 else ""


def bounds_of(energy: Metric, word: str) -> str:
    """How sure an energy is, how it was had if the column doesn't say it, and the mark of a footnote."""
    mark = "*" if too_short(energy) else "**" if is_statistical(energy) else ""
    own = "" if word else energy.provenance.value
    return " ".join(filter(None, (form.show(as_sure(energy)).bounds, own, mark)))


def is_statistical(energy: Metric) -> bool:
    """Whether statistics over many calls of a single round say what it is."""
    return energy.ci95 is not None and energy.n is None


def too_short(energy: Metric) -> bool:
    """Whether the bounds of a measured energy are half as far apart as the energy itself, or more."""
    if is_statistical(energy):
        return False
    if energy.value is None or energy.lower is None or energy.upper is None:
        return False
    return energy.provenance is not Provenance.ESTIMATED and energy.upper - energy.lower > _WIDE * energy.value > 0


def with_bars(page: Page, cells: list[list[Cell]], shares: Sequence[float]) -> list[list[Cell]]:
    """A bar beside each region's name if there is room: its share of the run's energy."""
    if width_of(page, cells) + 2 + _BAR > page.width:
        return cells
    bars = [Cell("of all", (DIM,))] + [Cell(bar(share, ascii_only=page.ascii_only), (CYAN,)) for share in shares]
    return [[*row, bar] for row, bar in zip(cells, bars, strict=True)]


def width_of(page: Page, cells: Sequence[Sequence[Cell]]) -> int:
    """Columns that a table needs."""
    widths = [max(columns(page.clean(cell.text)) for cell in column) for column in zip(*cells, strict=True)]
    return 2 + sum(widths) + 2 * (len(widths) - 1)


def fitting(page: Page, rows: list[list[Cell]], drop: Sequence[int]) -> list[list[Cell]]:
    """A table without some of its columns if it is too wide: figures are never cut.

    Args:
        page: Where it should fit.
        rows: The table.
        drop: Columns that may be left out, in this order, by their place in the whole table.
    """
    gone: set[int] = set()
    for column in drop:
        kept = [[cell for index, cell in enumerate(row) if index not in gone] for row in rows]
        if width_of(page, kept) <= page.width:
            return kept
        gone.add(column)
    return [[cell for index, cell in enumerate(row) if index not in gone] for row in rows]


def bar(share: float, width: int = _BAR, *, ascii_only: bool) -> str:
    """A bar that is so many columns wide for a share of 1."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    if ascii_only:
        return "#" * round(eighths / 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _footnotes(page: Page, run: DataNode, regions: Sequence[Region]) -> list[str]:
    notes: list[str] = []
    if len(regions) > 1:
        notes.append("Energy of all devices while a region was active; nested regions overlap.")
    if any(too_short(region.metrics.get("energy_j", _NOTHING)) for region in regions):
        period = run.metadata.get("period_ns")
        read = f" every {form.period(period)}" if period else ""
        notes.append(f"* too short to be resolved by reads{read}: see --period")
    notes += [STATISTICAL] * any(is_statistical(region.metrics.get("energy_j", _NOTHING)) for region in regions)
    return [line for note in notes for line in page.paragraph(note, DIM)]


def round_table(page: Page, runs: Sequence[DataNode], fate: Callable[[DataNode], str], *, hidden: int = 0) -> list[str]:
    """One line a round, and at its end how it failed; so many more have no node."""
    cells = [header("Round", ">time", ">energy", "", ">power", "", "")]
    for run in runs:
        energy = run.metrics.get("energy_j", _NOTHING)
        cells.append(
            [
                Cell(run.id),
                figure_cell(run.metrics.get("runtime_s")),
                figure_cell(energy, BOLD),
                Cell(form.show(energy).bounds, (DIM,)),
                figure_cell(run.metrics.get("power_w")),
                Cell(energy.provenance.value, (DIM,) if energy.provenance is Provenance.MEASURED else (YELLOW,)),
                Cell(fate(run), (RED,)),
            ]
        )
    return folded(page, page.table(cells, flexible=3), "rounds", hidden=max(hidden, 0))


def folded(page: Page, lines: list[str], what: str, *, hidden: int = 0) -> list[str]:
    """A table's lines with those beyond the limit replaced by their number; so many are hidden already."""
    more = len(lines) - 1 - MOST_ROWS
    if more <= 1 and not hidden:  # the line that says "1 more" takes the room of that one
        return lines
    hidden += max(more, 0)
    return [*lines[: MOST_ROWS + 1], page.paint(page.clean(f"  … {hidden:,} more {what} in the file"), DIM)]
