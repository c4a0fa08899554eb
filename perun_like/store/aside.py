"""Parts among those of a run that don't count: damaged ones, and copies of others."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from perun_like.errors import FileError
from perun_like.model.recording import Recording
from perun_like.sampling import spool_reader
from perun_like.sampling.distrust import open_plain
from perun_like.sensing.contract import ADDED_DOMAINS, Missing
from perun_like.store.belongings import DAMAGED
from perun_like.store.part import header
from perun_like.store.place import move_into

_PIECE = 1 << 20


def copies(paths: Sequence[str]) -> dict[str, str]:
    """Parts that were written by the sampler of another one: each with that other one, which counts.

    Somebody may have copied a part under another name, at the end or while it was written. Of several the one that is
    complete counts, else the one of which most can be read. A part without a beginning is nobody's.

    Raises:
        FileError: one of them can't be read.
    """
    return _copies({path: _beginning(path) for path in sorted(paths)} if len(paths) > 1 else {})


def _copies(beginnings: Mapping[str, dict[str, Any] | None]) -> dict[str, str]:
    by_sampler: dict[tuple[Any, ...], list[str]] = {}
    for path, facts in beginnings.items():
        if facts is not None and facts["local"]:
            sampler = facts["host"].get("boot_id"), facts["local"], facts["clocks"]["monotonic_ns"]
            by_sampler.setdefault(sampler, []).append(path)
    found: dict[str, str] = {}
    for same in by_sampler.values():
        if len(same) > 1:
            best = max(same, key=_worth)
            found |= {path: best for path in same if path != best}
    return found


def counted(paths: Sequence[str]) -> list[str]:
    """Those of some parts that aren't copies of others.

    Raises:
        FileError: one of them can't be read.
    """
    others = copies(paths)
    return [path for path in paths if path not in others]


def set_aside(parts_directory: str, paths: Sequence[str], *, even_all: bool = False) -> None:
    """Move parts without a beginning away from the others, and copies that aren't all in the one that counts.

    They stay with the run, whose result says so, and get a place beside it: see :meth:`RunPlace.release`.

    Args:
        parts_directory: ``<run id>.parts``.
        paths: The parts in it.
        even_all: Whether to do so if none is left, for a result that is made without any.

    Raises:
        FileError: they are all damaged, or can't be read.
        OSError: they can't be moved.
    """
    beginnings = {path: _beginning(path) for path in sorted(paths)}
    damaged = [path for path, facts in beginnings.items() if facts is None]
    if damaged and len(damaged) == len(paths) and not even_all:
        header(damaged[0])
    differing = [path for path, other in _copies(beginnings).items() if not _is_beginning_of(path, other)]
    for path in damaged + differing:
        move_into(path, os.path.join(parts_directory, DAMAGED))


def with_what_is_aside(whole: Recording, parts_directory: str) -> Recording:
    """A run that says which of its parts were set aside, and why, among its metadata."""
    directory = os.path.join(parts_directory, DAMAGED)
    names: list[str] = []
    with suppress(OSError):  # most often there are none
        names = sorted(name for name in os.listdir(directory) if name.endswith(".part"))
    told = [_told(os.path.join(directory, name), whole.run_id)._asdict() for name in names]
    return whole._replace(metadata={**whole.metadata, "missing": told}) if told else whole


def _told(path: str, run_id: str) -> Missing:
    name, where = os.path.basename(path), f"left in {run_id}.{DAMAGED}"
    with suppress(FileError):
        if _beginning(path) is not None:
            what = f"what only {name} has"
            return Missing(
                "sampler", what, f"it differs from another copy of the same part, which counts, and is {where}"
            )
    reason = f"it is damaged at its beginning, and {where}"
    return Missing("sampler", f"all of {name}", reason, domains=ADDED_DOMAINS)


def _beginning(path: str) -> dict[str, Any] | None:
    """What a part says at its beginning; None if that is damaged.

    Raises:
        FileError: it can't be read.
    """
    try:
        return header(path)
    except FileError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None


def _worth(path: str) -> tuple[bool, int]:
    """Whether a part is complete, and how much of it can be read."""
    readable_b = 0
    with suppress(FileError):
        for frame in spool_reader.frames(path):
            readable_b += len(frame.payload)
    return spool_reader.footer(path) is not None, readable_b


def _is_beginning_of(path: str, other: str) -> bool:
    """Whether a file is as another one begins."""
    with open_plain(path) as file, open_plain(other) as longer:
        while piece := file.read(_PIECE):
            if longer.read(len(piece)) != piece:
                return False
    return True
