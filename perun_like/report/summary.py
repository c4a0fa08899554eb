"""Results in few words: one call in a line, and what a process has measured of itself when it ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from perun_like.model.node import DataNode, Metric, NodeType
from perun_like.report import format as form
from perun_like.report.page import BOLD, DIM, Cell, Page
from perun_like.report.tables import figure_cell, header, too_short
from perun_like.report.terminal import page_for, text_for

_FEW = 3
_NOTHING = Metric.absent("J", "not recorded")


def glance(run: DataNode) -> str:
    """A run in a line: ``12.3 J ± 0.2 J measured, 1.20 s``, or ``45 J (12 to 160 J) estimated, 1.20 s``."""
    energy, runtime = run.metrics.get("energy_j", _NOTHING), run.metrics.get("runtime_s", _NOTHING)
    shown = form.show(energy)
    bounds = f"({shown.bounds})" if shown.bounds and not shown.bounds.startswith("±") else shown.bounds
    texts = [shown.value, bounds, "" if energy.value is None else energy.provenance.value]
    return f"{' '.join(filter(None, texts))}, {form.show(runtime).value}"


def text_for_all(stream: TextIO, saved: Sequence[tuple[DataNode, str]], *, colour: bool | None = None) -> str:
    """The report of a single result, or a table of several with their files, as fits a stream."""
    if len(saved) == 1:
        return text_for(stream, saved[0][0], path=saved[0][1], colour=colour)
    page = page_for(stream, colour)
    names = [page.shorten(page.clean(tree.id), page.width // 3) for tree, _ in saved]
    rounds = [tree.find(NodeType.MULTI_RUN)[0].metadata.get("rounds", 1) for tree, _ in saved]
    cells = [header("Profile", ">rounds", ">time each", ">energy each", "")]
    for (tree, _), name, count in zip(saved, names, rounds, strict=True):
        cells.append(_row(name, count, tree))
    lines = [
        page.rule("profiles", f"{len(saved)} of this process", DIM),
        "",
        *page.table(cells),
        *_about(page, saved),
        "",
    ]
    return "\n".join([*lines, *(page.clean(path) for path in _files([path for _, path in saved]))]) + "\n"


def _about(page: Page, saved: Sequence[tuple[DataNode, str]]) -> list[str]:
    """What the energies are of, and what hides in them."""
    notes = ["Energy of all devices of the host meanwhile."]
    if any(too_short(tree.metrics.get("energy_j", _NOTHING)) for tree, _ in saved):
        notes.append("* too short to be resolved by reads this far apart: see PERUN_PERIOD")
    return [line for note in notes for line in page.paragraph(note, DIM)]


def _files(paths: Sequence[str]) -> list[str]:
    """Where the results are; many of them by what their paths have in common."""
    if len(paths) <= _FEW:
        return list(paths)
    output, run = os.path.dirname(os.path.dirname(paths[0])), os.path.basename(paths[0])
    return [os.path.join(output, "*", run)]


def _row(name: str, rounds: int, tree: DataNode) -> list[Cell]:
    energy = tree.metrics.get("energy_j", _NOTHING)
    return [
        Cell(name),
        Cell(f"{rounds:,}", right=True),
        figure_cell(tree.metrics.get("runtime_s")),
        figure_cell(energy, BOLD),
        Cell(f"{form.show(energy).bounds} {energy.provenance.value}{' *' * too_short(energy)}".strip(), (DIM,)),
    ]
