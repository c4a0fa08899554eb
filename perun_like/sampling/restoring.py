"""Giving a part its place again, from which somebody has removed it, or moved it away with the results around it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

from perun_like.sampling.distrust import open_plain
from perun_like.sampling.spool import is_at, pieces, write_all

_MOST_NAMES = 100
_NEW = os.O_CREAT | os.O_EXCL


def placed_again(old: int, path: str, open_part: Callable[[str, int], int]) -> tuple[int, str]:
    """Have what an open part has at its place, or beside it if something else is there; and nowhere else.

    If a copy of the part is there, as results have been moved to another disk and back, that becomes the part.

    Args:
        old: Descriptor of the part, wherever that is by now; it is closed.
        path: The place.
        open_part: Opens a part with these flags.

    Returns:
        Descriptor of the part from now on, and where that is.

    Raises:
        OSError: it can't be done; nothing has changed then.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    has_b = _copied_b(old, path)
    if has_b:
        new, place = open_part(path, os.O_NOFOLLOW), path
    else:
        new, place = _created(path, open_part)
    try:
        for piece in pieces(old, has_b):
            write_all(new, piece)
    except OSError:
        os.ftruncate(new, has_b)
        os.close(new)
        if not has_b:
            os.unlink(place)
        raise
    _remove(old, path)
    os.close(old)
    return new, place


def _copied_b(old: int, path: str) -> int:
    """How large a copy of an open part is, made at any moment; 0 if something else is there, or nothing."""
    size_b = 0
    try:
        with open_plain(path) as there:
            for piece in pieces(there.fileno(), 0):
                if os.pread(old, len(piece), size_b) != piece:
                    return 0
                size_b += len(piece)
    except OSError:
        return 0
    return size_b


def places(path: str) -> Iterator[str]:
    """Where a part may be: at its place, or beside what others have put there, as ``host-2.part`` and so on."""
    yield path
    stem, suffix = os.path.splitext(path)
    for number in range(2, _MOST_NAMES):
        yield f"{stem}-{number}{suffix}"


def _created(path: str, open_part: Callable[[str, int], int]) -> tuple[int, str]:
    for place in places(path):
        with contextlib.suppress(FileExistsError):
            return open_part(place, _NEW), place
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


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
