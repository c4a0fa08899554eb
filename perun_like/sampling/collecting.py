"""What a process's marks amount to, collected from where :mod:`perun_like.sampling.marks` has them.

They are the application's as much as ours: whatever it has made of them, nothing here waits, follows links or raises.
If this process itself can't look at them, that is an error: they may be there.
"""

from __future__ import annotations

import errno
import os
from typing import Any, NamedTuple, TypeVar

from perun_like.sampling.distrust import is_number, parse, read_plain
from perun_like.sampling.marks import (
    FILE_ROWS,
    MAX_FILES,
    NAME_LOST,
    ROUND_WORDS,
    ROW_WORDS,
    WORD_BYTES,
    file_bytes,
    rows_bytes,
)
from perun_like.sampling.segments import opened

T = TypeVar("T")

_UNABLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSYS)
_MOST_NAMES = MAX_FILES * FILE_ROWS * 2  # each call or round of a name of its own
_MOST_NAMES_BYTES = 1 << 26  # 64 MiB: most of them short


class Collected(NamedTuple):
    """What one process has marked.

    Attributes:
        facts: ``pid``, ``rank``, ``names``, ``lost``, ``lost_rounds``.
        calls: Rows of calls of regions.
        rounds: Rows of rounds.
    """

    facts: dict[str, Any]
    calls: bytes
    rounds: bytes


def collect(directory: str, rank: int) -> list[Collected]:
    """Everything that was marked in a rank's directory, by process.

    Raises:
        OSError: this process has no descriptors or memory left to look, or its Python can't.
    """
    found: list[Collected] = []
    there = _listed(directory)
    for id_ in sorted(name[6:] for name in there if name.startswith("names-")):
        pid = id_.partition("-")[0]
        if is_number(pid):
            names, lost, lost_rounds = _names(directory, id_)
            calls, lost_in_all = _rows(directory, there, f"marks-{id_}", ROW_WORDS)
            rounds, lost_rounds_in_all = _rows(directory, there, f"rounds-{id_}", ROUND_WORDS)
            facts: dict[str, Any] = {"pid": int(pid), "rank": rank, "names": names}
            facts["lost"] = _completed(lost, lost_in_all)
            facts["lost_rounds"] = _completed(lost_rounds, lost_rounds_in_all)
            found.append(Collected(facts, calls, rounds))
    return found


def _listed(directory: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except OSError as error:
        return _nothing(error, frozenset())


def _names(directory: str, id_: str) -> tuple[list[str], dict[str, int], dict[str, int]]:
    """Names in the order of their numbers, and how many calls and rounds were only counted, by name."""
    lost: dict[str, int] = {}
    lost_rounds: dict[str, int] = {}
    names: dict[int, str] = {}
    for entry in _entries(directory, id_):
        match entry:
            case dict():
                lost.update({name: calls for name, calls in entry.items() if _is_count(calls)})
            case [str(name), calls] if _is_count(calls):
                lost_rounds[name] = calls
            case [number, str(name)] if _is_count(number) and number < _MOST_NAMES:
                names[number] = name
            case _:  # damaged
                pass
    in_order = [names.get(number, NAME_LOST) for number in range(max(names, default=-1) + 1)]
    return in_order, lost, lost_rounds


def _completed(lost: dict[str, int], in_all: int) -> dict[str, int]:
    """Calls that were only counted, with those of which the name couldn't be written down."""
    unnamed = in_all - sum(lost.values())
    return {**lost, NAME_LOST: lost.get(NAME_LOST, 0) + unnamed} if unnamed > 0 and _is_count(in_all) else lost


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _entries(directory: str, id_: str) -> list[Any]:
    try:
        lines = read_plain(os.path.join(directory, f"names-{id_}"), _MOST_NAMES_BYTES).split(b"\n")
    except OSError as error:  # deleted, or made something else
        return _nothing(error, [])
    return [_entry(line) for line in lines[:-1]]  # a line without its newline was torn by a kill


def _entry(line: bytes) -> Any:
    """What a line says; nothing if there was no room for all of it: that costs no other line."""
    try:
        return parse(line)
    except ValueError:
        return None


def _rows(directory: str, there: frozenset[str], stem: str, row_words: int) -> tuple[bytes, int]:
    """Rows, and how many calls found no room there."""
    rows, size, lost = bytearray(), rows_bytes(row_words), 0
    for number in range(MAX_FILES):
        name = f"{stem}-{number}"
        if name not in there:  # an interrupt came before it was; those after it may be
            continue
        marked = _marked(os.path.join(directory, name), file_bytes(row_words))
        used = marked[:size].rstrip(b"\0")
        lost += int.from_bytes(marked[size : size + WORD_BYTES], "little")
        if used:  # rows are known by their number: one before that isn't full, or is gone, would shift them
            rows += bytes(number * size - len(rows)) + used
    return bytes(rows) + bytes(-len(rows) % (row_words * WORD_BYTES)), lost


def _marked(path: str, size: int) -> bytes:
    try:
        with opened(path, size) as read:
            return read(0, size)
    except OSError as error:  # something else is in its place, or what it stood for has been removed
        return _nothing(error, b"")


def _nothing(error: OSError, nothing: T) -> T:
    if error.errno in _UNABLE:
        raise error
    return nothing
