"""What a stream can show: its width, colour, characters."""

from __future__ import annotations

import os
from typing import TextIO

from perun_like.model.node import DataNode
from perun_like.report.page import Page
from perun_like.report.text import render

WIDEST = 100  # wider lines are harder to read, not easier
_NEEDED = "±µ·…─█▏"


def page_for(stream: TextIO, colour: bool | None = None) -> Page:
    """A page for other texts, as fits a stream."""
    terminal = stream.isatty()
    coloured = _coloured(stream) if colour is None else colour
    return Page(_width(stream) if terminal else 80, colour=coloured, ascii_only=not _carries(stream.encoding))


def text_for(stream: TextIO, root: DataNode, *, path: str | None = None, colour: bool | None = None) -> str:
    """The report as fits a stream.

    Colour: as asked, else on a terminal without ``NO_COLOR`` (https://no-color.org) that isn't ``dumb``. Width: the
    terminal's up to 100 columns, else 80. Characters: ASCII where the stream's encoding lacks ours.
    """
    terminal = stream.isatty()
    if colour is None:
        colour = _coloured(stream)
    return render(
        root, width=_width(stream) if terminal else 80, colour=colour, ascii=not _carries(stream.encoding), path=path
    )


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _width(stream: TextIO) -> int:
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 80
    return min(columns, WIDEST) if columns > 0 else 80  # a terminal may not know: 0


def _carries(encoding: str | None) -> bool:
    try:
        _NEEDED.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
