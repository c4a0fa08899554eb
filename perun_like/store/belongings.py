"""What runs make in their directory of parts, told from what people keep there: only the former is ever removed.

Any directory may be called ``something.parts``, and one part in it makes it that of a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

HOSTS, DAMAGED = "hosts", "damaged"
_HEX = frozenset("0123456789abcdef")
_HASH_DIGITS, _DRAFT_DIGITS = 8, 16

Entry = os.DirEntry[str]


def has_belongings(parts: str) -> bool:
    """Whether a directory has files that a run has made.

    Raises:
        OSError: it can't be read.
    """
    with os.scandir(parts) as entries:
        return any(map(_is_file_of_run, entries))


def is_belonging(entry: Entry) -> bool:
    """Whether something in a directory of parts is a run's, by its name and kind."""
    if entry.is_dir(follow_symlinks=False):
        return entry.name in (HOSTS, DAMAGED)
    return _is_file_of_run(entry)


def remove_belongings(parts: str, but: str | None = None) -> None:
    """Remove what a run has made, and the directory if that is all; what is gone already is passed over.

    Args:
        parts: The directory.
        but: The name of what is to stay, and the directory with it.
    """
    hosts = os.path.join(parts, HOSTS)
    _remove_files(hosts, is_host_file)
    with suppress(OSError):
        os.rmdir(hosts)
    _remove_files(parts, lambda entry: entry.name != but and _is_file_of_run(entry))
    if but is None:
        with suppress(OSError):
            os.rmdir(parts)


def _remove_files(directory: str, are_ours: Callable[[Entry], bool]) -> None:
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in list(entries):
            with suppress(OSError):
                if are_ours(entry):
                    os.unlink(entry.path)


def _is_file_of_run(entry: Entry) -> bool:
    name = entry.name
    if not entry.is_file(follow_symlinks=False):
        return False
    if name in ("told", "result") or name.startswith((".look-", "making-")):
        return _is_empty(entry)  # that they are there is all they say
    a_part = name.endswith((".part", ".part.coarser"))
    return a_part or name == "published" or _has_hash(name, ".summary") or _is_draft(name)


def is_host_file(entry: Entry) -> bool:
    """Whether something in a directory of host files is a run's, by its name and kind."""
    return entry.is_file(follow_symlinks=False) and (_has_hash(entry.name, ".h5") or _is_draft(entry.name))


def _is_empty(entry: Entry) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_size == 0
    except FileNotFoundError:
        return True


def _has_hash(name: str, suffix: str) -> bool:
    """Whether it is the name of a host's file: ``<host>-<hash><suffix>``."""
    _, dash, end = name.rpartition("-")
    return bool(dash) and end.endswith(suffix) and _is_hex(end.removesuffix(suffix), _HASH_DIGITS)


def _is_draft(name: str) -> bool:
    """Whether it is that of a file that was never finished."""
    start, end = ".perun-like-", ".tmp"
    a_draft = name.startswith(start) and name.endswith(end)
    return a_draft and _is_hex(name[len(start) : -len(end)], _DRAFT_DIGITS)


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and _HEX.issuperset(text)
