"""Tables of the report: devices, regions, rounds."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Region
from perun_like.report import format as form
from perun_like.report.page import BOLD, CYAN, DIM, YELLOW, Cell, Page, columns

MOST_ROWS = 15
_NAME = 32  # columns of the longest name
_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"
_WIDE = 0.5  # as in the analysis, which says so in the metric's method
_NOTHING = Metric.absent("J", "not recorded")


def _header(*titles: str) -> list[Cell]:
    """Titles of columns; one that starts with ``>`` is aligned right, as its column is."""
    return [Cell(title.lstrip(">"), (DIM,), title.startswith(">")) for title in titles]


def _figure(metric: Metric | None, *codes: str) -> Cell:
    if metric is None or metric.value is None:
        return Cell("not available", (DIM,), right=True)
    return Cell(form.show(metric).value, codes, right=True)


def device_table(page: Page, run: DataNode) -> list[str]:
    """Energy of each device, first those that the total adds; the others with the reason why it doesn't."""
    hosts = run.find(NodeType.NODE)
    rows = [
        _device(sensor, f"{host.id} " if len(hosts) > 1 else "")
        for host in hosts
        for sensor in host.find(NodeType.SENSOR)
        if "energy_j" in sensor.metrics
    ]
    if not rows:
        return []
    rows.sort(key=lambda row: row[0])  # stable: only moves those outside the total to the end
    cells = [_header("Device", ">energy", "", ">power", "from"), *(row[1] for row in rows)]
    lines = _folded(page, page.table(cells, flexible=len(cells[0]) - 1), "devices")
    return lines + _models(page, run) + _gone(page, run)


def _models(page: Page, run: DataNode) -> list[str]:
    """What estimates assume."""
    texts: dict[str, None] = {}
    for sensor in run.find(NodeType.SENSOR):
        energy = sensor.metrics.get("energy_j", _NOTHING)
        if energy.method and energy.value is not None:
            texts[f"{_name(sensor)}: {energy.method}"] = None
    return [line for text in texts for line in page.paragraph(text, DIM, indent="    ")]


def _gone(page: Page, run: DataNode) -> list[str]:
    """What is wrong with devices: why there is no energy, how many reads failed."""
    lines: list[str] = []
    for sensor in run.find(NodeType.SENSOR):
        if "energy_j" not in sensor.metrics:
            continue
        name, facts, energy = _name(sensor), sensor.metadata, sensor.metrics["energy_j"]
        failed = (
            f"{facts['failed_reads']} of {facts.get('reads', '?')} reads failed" if facts.get("failed_reads") else ""
        )
        reason = str(energy.reason or "").removeprefix(f"{sensor.id}: ")
        if energy.value is None and not reason:
            reason = "no reason is recorded"
        text = "; ".join(filter(None, (reason, failed)))
        lines += page.paragraph(f"{name}: {text}", YELLOW) if text else []
    return lines


def _name(sensor: DataNode) -> str:
    """``package-0`` of ``rapl:package-0``."""
    return sensor.id.partition(":")[2] or sensor.id


def _device(sensor: DataNode, prefix: str) -> tuple[bool, list[Cell]]:
    facts = sensor.metadata
    energy = sensor.metrics["energy_j"]
    outside = facts.get("not_added")
    codes = (DIM,) if outside else ()
    backend = sensor.id.partition(":")[0]
    origin = (
        f"{energy.provenance.value} by a model" if backend == "estimate" else f"{energy.provenance.value}, {backend}"
    )
    if energy.value is None:
        origin = "missing"
    elif outside:
        origin = f"{energy.provenance.value}, not added: {outside}"
    elif facts.get("accuracy"):
        origin += f", accurate to {form.percent(100 * facts['accuracy'])}"
    return bool(outside), [
        Cell(prefix + _name(sensor), codes),
        _figure(energy, *codes),
        Cell(form.show(energy).bounds, (DIM,)),
        Cell("") if energy.value is None else _figure(sensor.metrics.get("power_w"), *codes),
        Cell(origin, (DIM,) if energy.provenance is Provenance.MEASURED else (YELLOW,)),
    ]


def region_table(page: Page, run: DataNode) -> list[str]:
    """Regions, the hungriest first: what the hosts' devices used while each was active."""
    regions = sorted(run.regions, key=_used, reverse=True)
    if not regions:
        return []
    words = {region.metrics.get("energy_j", _NOTHING).provenance.value for region in regions}
    ranks = len({region.rank for region in regions}) > 1
    total = run.metrics.get("energy_j", _NOTHING).value
    word = words.pop() if len(words) == 1 else ""
    titles = ["Region", *([">rank"] if ranks else []), ">calls", ">time", ">energy", word]
    cells = [_header(*titles)]
    cells += [_region(page, region, ranks=ranks, word=word) for region in regions]
    if total:
        cells = _with_bars(page, cells, [_used(region) / total for region in regions])
    lines = _folded(page, page.table(cells), "regions")
    return lines + _footnotes(page, run, regions)


def _used(region: Region) -> float:
    return float(region.metrics.get("energy_j", _NOTHING).value or 0)


def _region(page: Page, region: Region, *, ranks: bool, word: str) -> list[Cell]:
    energy = region.metrics.get("energy_j", _NOTHING)
    bounds = form.show(energy).bounds + ("" if word else f" {energy.provenance.value}")
    short = _too_short(energy)
    return [
        Cell(page.shorten(page.clean(region.name), _NAME)),
        *([Cell(str(region.rank), right=True)] if ranks else []),
        Cell(f"{region.calls:,}", right=True),
        _figure(region.metrics.get("runtime_s")),
        _figure(energy, *(() if short else (BOLD,))),
        Cell(f"{bounds} *" if short else bounds, (YELLOW,) if short else (DIM,)),
    ]


def _too_short(energy: Metric) -> bool:
    """Whether the bounds of a measured energy are half as far apart as the energy itself, or more."""
    if energy.value is None or energy.lower is None or energy.upper is None:
        return False
    return energy.provenance is not Provenance.ESTIMATED and energy.upper - energy.lower > _WIDE * energy.value > 0


def _with_bars(page: Page, cells: list[list[Cell]], shares: Sequence[float]) -> list[list[Cell]]:
    """A bar beside each region's name if there is room: its share of the run's energy."""
    needed = 2 + sum(max(columns(cell.text) for cell in column) + 2 for column in zip(*cells, strict=True)) + _BAR
    if needed > page.width:
        return cells
    bars = [Cell("of all", (DIM,))] + [Cell(_bar(share, ascii_only=page.ascii_only), (CYAN,)) for share in shares]
    return [[*row, bar] for row, bar in zip(cells, bars, strict=True)]


def _bar(share: float, *, ascii_only: bool) -> str:
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    if ascii_only:
        return "#" * round(eighths / 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _footnotes(page: Page, run: DataNode, regions: Sequence[Region]) -> list[str]:
    notes: list[str] = []
    if len(regions) > 1:
        notes.append("Energy of all devices while a region was active; nested regions overlap.")
    if any(_too_short(region.metrics.get("energy_j", _NOTHING)) for region in regions):
        period = run.metadata.get("period_ns")
        read = f" every {form.period(period)}" if period else ""
        notes.append(f"* too short to be resolved by reads{read}: see --period")
    return [line for note in notes for line in page.paragraph(note, DIM)]


def round_table(page: Page, runs: Sequence[DataNode]) -> list[str]:
    """One line a round."""
    cells = [_header("Round", ">time", ">energy", "", ">power", "")]
    for run in runs:
        energy = run.metrics.get("energy_j", _NOTHING)
        cells.append(
            [
                Cell(run.id),
                _figure(run.metrics.get("runtime_s")),
                _figure(energy, BOLD),
                Cell(form.show(energy).bounds, (DIM,)),
                _figure(run.metrics.get("power_w")),
                Cell(energy.provenance.value, (DIM,) if energy.provenance is Provenance.MEASURED else (YELLOW,)),
            ]
        )
    return _folded(page, page.table(cells), "rounds")


def _folded(page: Page, lines: list[str], what: str) -> list[str]:
    """A table's lines with those beyond the limit replaced by their number."""
    more = len(lines) - 1 - MOST_ROWS
    if more <= 1:  # the line that says "1 more" takes the room of that one
        return lines
    return [*lines[: MOST_ROWS + 1], page.paint(page.clean(f"  … {more} more {what} in the file"), DIM)]
