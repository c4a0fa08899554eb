"""What a process's marks amount to, collected from the files that :mod:`perun_like.sampling.marks` describes.

They are the application's as much as ours: whatever it has made of them, nothing here waits, follows links or raises.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from perun_like.sampling.distrust import is_number, parse, read_plain
from perun_like.sampling.marks import FILE_ROWS, MAX_FILES, ROUND_WORDS, ROW_WORDS, WORD_BYTES

_MOST_NAMES_BYTES = 3 << 24  # 48 MiB: a million calls, each of a name of its own


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
    """Everything that was marked in a rank's directory, by process."""
    found: list[Collected] = []
    for id_ in _ids(directory):
        pid = id_.partition("-")[0]
        if is_number(pid):
            facts = {"pid": int(pid), "rank": rank, **_names(directory, id_)}
            calls = _rows(directory, f"marks-{id_}", ROW_WORDS)
            found.append(Collected(facts, calls, _rows(directory, f"rounds-{id_}", ROUND_WORDS)))
    return found


def _ids(directory: str) -> list[str]:
    try:
        return sorted(name[6:] for name in os.listdir(directory) if name.startswith("names-"))
    except OSError:
        return []


def _names(directory: str, id_: str) -> dict[str, Any]:
    entries = _entries(directory, id_)
    lost: dict[str, int] = {}
    lost_rounds: dict[str, int] = {}
    for entry in entries:
        if isinstance(entry, dict):
            lost.update({name: calls for name, calls in entry.items() if _is_count(calls)})
        elif isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and _is_count(entry[1]):
            lost_rounds[entry[0]] = entry[1]
    names = [entry if isinstance(entry, str) else "" for entry in entries]
    return {"names": names, "lost": lost, "lost_rounds": lost_rounds}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _entries(directory: str, id_: str) -> list[Any]:
    try:
        lines = read_plain(os.path.join(directory, f"names-{id_}"), _MOST_NAMES_BYTES).split(b"\n")
    except OSError:  # deleted, or made something else
        return []
    return [_entry(line) for line in lines[:-1]]  # a line without its newline was torn by a kill


def _entry(line: bytes) -> Any:
    """What a line says; nothing if there was no room for all of it: it keeps its number, and costs no other line."""
    try:
        found = parse(line)
    except ValueError:
        return ""
    return found if isinstance(found, (str, dict, list)) else ""


def _rows(directory: str, stem: str, row_words: int) -> bytes:
    rows = bytearray()
    for number in range(MAX_FILES):
        try:
            used = read_plain(os.path.join(directory, f"{stem}-{number}"), FILE_ROWS * row_words * WORD_BYTES)
        except OSError:  # there is none, or something else in its place
            break
        used = used.rstrip(b"\0")
        if number and rows:  # rows are known by their number: a file before that isn't full would shift them
            rows += bytes(number * FILE_ROWS * row_words * WORD_BYTES - len(rows))
        rows += used + bytes(-len(used) % (row_words * WORD_BYTES))
    return bytes(rows)
