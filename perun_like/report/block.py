"""Lines with one figure each, in columns: label, value, bounds, where it comes from, what to know about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perun_like.model.node import Provenance
from perun_like.report.page import DIM, YELLOW, Page, columns

LABEL = 11  # columns of the first column, the same in all blocks


class Line(NamedTuple):
    """A figure to be shown.

    Attributes:
        label: What it is.
        value: The figure as text.
        bounds: Its bounds as text; empty if it has none.
        provenance: Where it comes from.
        notes: What to know about it, the most important first: as many as fit stand beside it, the others below.
        codes: Colours of the figure.
    """

    label: str
    value: str
    bounds: str
    provenance: Provenance
    notes: Sequence[str] = ()
    codes: tuple[str, ...] = ()


def block(page: Page, lines: Sequence[Line]) -> tuple[list[str], list[str]]:
    """Lines in columns as wide as the widest needs, and those below them that explain what had no room beside."""
    values = max((columns(page.clean(line.value)) for line in lines if line.bounds), default=0)
    texts = [_figure(page, line, values) for line in lines]
    word = max((columns(line.provenance.value) for line in lines), default=0)
    width = min(max(map(columns, texts), default=0), page.width - (2 + LABEL + 2 + 2 + word))
    room = page.width - (2 + LABEL + 2 + width + 2 + word + 2)
    rows: list[str] = []
    below: dict[str, list[str]] = {}
    for line, text in zip(lines, texts, strict=True):
        beside, more = _divided(page, line.notes, room)
        rows.append(_row(page, line, page.pad(page.shorten(text, width), width), word, beside))
        if more:
            below.setdefault("; ".join(more), []).append(line.label.strip())
    return rows, [row for note, labels in below.items() for row in _explained(page, labels, note)]


def _figure(page: Page, line: Line, values: int) -> str:
    if not line.bounds:
        return page.clean(line.value)  # may be as wide as a value with its bounds
    return f"{page.pad(page.clean(line.value), values)}  {page.clean(line.bounds)}"


def _divided(page: Page, notes: Sequence[str], room: int) -> tuple[str, Sequence[str]]:
    """Notes that fit, joined, and those that don't."""
    beside = ""
    for index, note in enumerate(notes):
        longer = page.clean(f"{beside}, {note}" if beside else note)
        if columns(longer) > room:
            return beside, notes[index:]
        beside = longer
    return beside, ()


def _row(page: Page, line: Line, figure: str, word: int, beside: str) -> str:
    colour = DIM if line.provenance is Provenance.MEASURED else YELLOW
    provenance = page.paint(page.pad(line.provenance.value, word), colour)
    parts = [page.pad(line.label, LABEL), page.paint(figure, *line.codes), provenance, page.paint(beside, DIM)]
    return "  " + "  ".join(parts).rstrip()


def _explained(page: Page, labels: Sequence[str], note: str) -> list[str]:
    return page.paragraph(f"{', '.join(labels)}: {note}", DIM, indent="    ")
