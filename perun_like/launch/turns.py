"""The runs of one launch: a rank may profile several programs one after the other, and all ranks do so in one order.

A job has a directory on each host, which outlives its runs; each run has one in it. What is done in the former at one
instant by one process alone is done behind its :class:`Door`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Callable, Generator
from itertools import count

_ROW = struct.Struct("<III")  # of each rank: which launch this is about, its runs, what it has said
_KEPT_S = 24 * 3600
_CLOSED = "closed"


class Door:
    """What may be done in a job's directory by one process at a time: see :func:`door`."""

    def __init__(self, job: str, fd: int) -> None:
        self._job, self._fd = job, fd

    def next_run(self, rank: int, launch: str) -> int:
        """The number of a rank's next run in this launch, from 0."""
        return self._next(rank, launch, 0)

    def next_saying(self, rank: int, launch: str) -> int:
        """The number of the next thing that a rank has to say to people."""
        return self._next(rank, launch, 1)

    def _next(self, rank: int, launch: str, column: int) -> int:
        mark = zlib.crc32(launch.encode())
        row = os.pread(self._fd, _ROW.size, rank * _ROW.size)
        of, *counts = _ROW.unpack(row) if len(row) == _ROW.size else (mark, 0, 0)
        if of != mark:  # left by an earlier launch whose job had the same id
            counts = [0, 0]
        counts[column] += 1
        os.pwrite(self._fd, _ROW.pack(mark, *counts), rank * _ROW.size)
        return int(counts[column]) - 1

    def run_directory(self, number: int) -> str:
        """The directory of a run, made if there is none; a new one if the one that there was is over."""
        for again in count():
            path = os.path.join(self._job, f"{number}.{again}")
            if not os.path.exists(os.path.join(path, _CLOSED)):
                os.makedirs(path, 0o700, exist_ok=True)
                return path
        raise AssertionError("numbers end")


@contextlib.contextmanager
def door(job: str) -> Generator[Door, None, None]:
    """Alone in a job's directory, while the context is open. Others wait; a death lets the next one in.

    Args:
        job: The directory, from :func:`~perun_like.launch.claim.job_directory`.

    Raises:
        OSError: there is no such directory, or there can be no locks in it.
    """
    fd = os.open(os.path.join(job, "runs"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield Door(job, fd)
    finally:
        os.close(fd)


def close_run(run: str, has_ranks: Callable[[], bool]) -> bool:
    """Close a run's directory to ranks that come later, unless one has come; whether it is closed.

    Args:
        run: From :meth:`Door.run_directory`.
        has_ranks: Whether there are ranks in it now.
    """
    with door(os.path.dirname(run)):
        if has_ranks():
            return False
        os.close(os.open(os.path.join(run, _CLOSED), os.O_WRONLY | os.O_CREAT, 0o600))
        return True


def set_aside(run: str) -> str:
    """Rename a closed run's directory, to be removed: halfway through nobody must take it for an open one."""
    aside = f"{run}-{os.urandom(4).hex()}"
    os.rename(run, aside)
    return aside


def first_to_say(job: str, rank: int, launch: str, text: str) -> bool:
    """Whether no other rank on this host has said the same in its turn."""
    with door(job) as inside:
        number = inside.next_saying(rank, launch)
        said = os.path.join(job, f"said-{zlib.crc32(text.encode(errors='replace')):08x}-{number}")
        try:
            os.close(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
    return True


def sweep(ours: str) -> None:
    """Remove directories of jobs of which nothing is left but that they were.

    Args:
        ours: The directory in which those of jobs are.
    """
    for name in os.listdir(ours):
        job = os.path.join(ours, name)
        if name.startswith("job_") and _is_old(os.path.join(job, "runs")):
            _remove_empty(job)


def _is_old(path: str) -> bool:
    try:
        return time.time() - os.stat(path).st_mtime > _KEPT_S
    except OSError:
        return False


def _remove_empty(job: str) -> None:
    names = os.listdir(job)
    if any(os.path.isdir(os.path.join(job, name)) for name in names):
        return  # a run still goes on, or was cut and waits to be recovered
    with contextlib.suppress(OSError):  # another job sweeps too, or a rank has come after all
        for name in names:
            os.unlink(os.path.join(job, name))
        os.rmdir(job)
