"""Giving a part its place again, from which somebody has removed it, or moved it away with the results around it."""

from __future__ import annotations

import contextlib
import os

from perun_like.sampling.spool import is_at, write_all

_PIECE = 1 << 20


def move_to(new: int, old: int, path: str) -> None:
    """Fill a new part with what an open one has, wherever that is by now, and remove that.

    Args:
        new: Descriptor of the new part, empty and at its place.
        old: Descriptor of the one that isn't there any more.
        path: The place.

    Raises:
        OSError: it can't be done; there is nothing at the place then, and ``new`` is closed.
    """
    try:
        with open(_link(old), "rb", buffering=0) as whole:  # the kernel finds it even if it has no name
            while piece := whole.read(_PIECE):
                write_all(new, piece)
    except OSError:
        os.close(new)
        os.unlink(path)
        raise
    _remove(old)


def _remove(fd: int) -> None:
    """Remove an open file by the name that it has now, so that nobody takes it for a run of its own."""
    with contextlib.suppress(OSError):  # it has none, or others look after what is around it
        path = os.readlink(_link(fd))
        if is_at(fd, path):
            os.unlink(path)
            os.rmdir(os.path.dirname(path))


def _link(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
