"""Giving a part its place again, from which somebody has removed it, or moved it away with the results around it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from perun_like.sampling.spool import is_at, pieces, write_all

_MOST_NAMES = 100


def placed_again(old: int, path: str, create: Callable[[str], int]) -> tuple[int, str]:
    """Have what an open part has at its place, or beside it if something else is there; and nowhere else.

    Args:
        old: Descriptor of the part, wherever that is by now; it is closed.
        path: The place.
        create: Makes a new part.

    Returns:
        Descriptor of the part from now on, and where that is.

    Raises:
        OSError: it can't be done; nothing has changed then.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new, place = _create(path, create)
    try:
        for piece in pieces(old, 0):
            write_all(new, piece)
    except OSError:
        os.close(new)
        os.unlink(place)
        raise
    _remove(old, path)
    os.close(old)
    return new, place


def _create(path: str, create: Callable[[str], int]) -> tuple[int, str]:
    for place in _names(path):
        with contextlib.suppress(FileExistsError):
            return create(place), place
    return create(path), path


def _names(path: str) -> Iterator[str]:
    """``host.part``, ``host-2.part`` and so on."""
    stem, suffix = os.path.splitext(path)
    yield path
    for number in range(2, _MOST_NAMES):
        yield f"{stem}-{number}{suffix}"


def _remove(fd: int, path: str) -> None:
    """Remove an open part by the name that it has now, so that nobody takes it for a run of its own.

    Under another name, or in a directory that isn't a run's, somebody has put it for himself.
    """
    with contextlib.suppress(OSError):  # it has none, or others look after what is around it
        there = os.readlink(f"/proc/self/fd/{fd}")
        directory = os.path.dirname(there)
        if os.path.basename(there) == os.path.basename(path) and directory.endswith(".parts") and is_at(fd, there):
            os.unlink(there)
            os.rmdir(directory)
