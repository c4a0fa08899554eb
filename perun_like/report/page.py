"""Lines of text of a given width: cleaning, colour, columns. No rich: importing it takes 42 ms."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

NARROWEST = 60  # a page is never narrower: a figure with its bounds and its origin needs this
BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
_ASCII = {"±": "+/-", "µ": "u", "…": "...", "·": "-", "─": "-", "█": "#"}


class Cell(NamedTuple):
    """Text of a table's cell and how it is painted and aligned."""

    text: str
    codes: tuple[str, ...] = ()
    right: bool = False


def columns(text: str) -> int:
    """How many columns a terminal needs for a text."""
    if text.isascii():
        return len(text)
    return sum(_width(c) for c in text)


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Page:
    """What lines may look like: their width in columns, with colour or not, of ASCII only or not."""

    def __init__(self, width: int = 80, *, colour: bool = False, ascii_only: bool = False) -> None:
        self.width = max(width, NARROWEST)
        self.colour = colour
        self.ascii_only = ascii_only

    def clean(self, text: str) -> str:
        """The text on one line, with whatever could move a cursor or change a colour shown as an escape."""
        if self.ascii_only:
            text = "".join(_ASCII.get(c, c) for c in text).encode("ascii", "backslashreplace").decode()
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

    def paint(self, text: str, *codes: str) -> str:
        """The text in a colour, if this page has any."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colour and codes and text else text

    def shorten(self, text: str, room: int) -> str:
        """A clean text that fits, its middle left out if need be: both ends of a name tell something."""
        if columns(text) <= room:
            return text
        gap = self.clean("…")
        head = _fitting(text, (room - len(gap) + 1) // 2)
        tail = _fitting(text[::-1], room - len(gap) - columns(head))[::-1]
        return head + gap + tail

    def pad(self, text: str, room: int, *, right: bool = False) -> str:
        """A text filled up with spaces."""
        fill = " " * (room - columns(text))
        return fill + text if right else text + fill

    def wrap(self, text: str, room: int) -> list[str]:
        """A text in lines that fit, broken at spaces where there are any."""
        lines = [""]
        for word in self.clean(text).split():
            rest = word
            if lines[-1] and columns(lines[-1]) + 1 + columns(word) <= room:
                lines[-1] += " " + word
                continue
            while columns(rest) > room:
                piece = _fitting(rest, room)
                lines.append(piece)
                rest = rest[len(piece) :]
            lines.append(rest)
        return [line for line in lines if line] or [""]

    def paragraph(self, text: str, *codes: str, first: str = "  ", indent: str = "  ") -> list[str]:
        """A text in lines with an indent."""
        lines = self.wrap(text, self.width - columns(first))
        if len(lines) > 1:
            lines = self.wrap(text, self.width - max(columns(first), columns(indent)))
        return [self.paint((indent if i else first) + line, *codes) for i, line in enumerate(lines)]

    def rule(self, left: str, right: str, *codes: str) -> str:
        """A line across the page with a text at either end."""
        line = self.clean("─")
        left = self.clean(left)
        right = self.shorten(self.clean(right), max(self.width // 2, self.width - columns(left) - 10))
        left = self.shorten(left, self.width - columns(right) - 10)
        middle = line * (self.width - columns(left) - columns(right) - 8)
        dim = self.paint(line * 2, DIM)
        return f"{dim} {self.paint(left, BOLD)} {self.paint(middle, DIM)} {self.paint(right, *codes)} {dim}"

    def table(self, rows: Sequence[Sequence[Cell]], *, flexible: int = 0) -> list[str]:
        """Rows with columns as wide as needed; the flexible one gives way if the page is too narrow."""
        texts = [[self.clean(cell.text) for cell in row] for row in rows]
        widths = [max(columns(text) for text in column) for column in zip(*texts, strict=True)]
        excess = 2 + sum(widths) + 2 * (len(widths) - 1) - self.width
        if excess > 0:
            widths[flexible] = max(widths[flexible] - excess, 8)
        return [self._row(row, text, widths) for row, text in zip(rows, texts, strict=True)]

    def _row(self, row: Sequence[Cell], texts: Sequence[str], widths: Sequence[int]) -> str:
        parts = []
        used = 2
        for index, (cell, text, width) in enumerate(zip(row, texts, widths, strict=True)):
            room = min(width, self.width - used)
            if room < min(width, 5):
                break  # too narrow a page: the last columns are left out rather than mangled
            padded = self.pad(self.shorten(text, room), room, right=cell.right)
            last = index == len(widths) - 1
            parts.append(self.paint(padded.rstrip() if last else padded, *cell.codes))
            used += room + 2
        return "  " + "  ".join(parts).rstrip()


def _fitting(text: str, room: int) -> str:
    """As much of a text's beginning as fits; at least one character."""
    used = 0
    for index, character in enumerate(text):
        used += _width(character)
        if used > room and index:
            return text[:index]
    return text
