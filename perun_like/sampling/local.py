"""The directory of a run in its host's own memory: the sampler's tails and the application's marks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat


def make_local_directory(token: str, rank: int = 0) -> str:
    """A new private directory with one for the rank's marks in it; returns the path of the run's directory.

    It is in memory (``/dev/shm``) where there is some to be had, else among temporary files.

    Raises:
        OSError: it can't be created, or another user owns the place.
    """
    ours = _ours()
    with contextlib.suppress(FileExistsError):
        os.mkdir(ours, 0o700)
    status = os.lstat(ours)
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise PermissionError(errno.EACCES, "exists, but is not a private directory of this user", ours)
    path = os.path.join(ours, token)
    os.mkdir(path, 0o700)
    os.mkdir(marks_directory(path, rank), 0o700)
    return path


def is_local_directory(path: str) -> bool:
    """Whether a path, of untrusted origin, can be that of a run's directory on this host."""
    return os.path.dirname(path) == _ours() and os.path.normpath(path) == path and os.path.isdir(path)


def _ours() -> str:
    root = "/dev/shm" if os.access("/dev/shm", os.W_OK) else os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - private
    return os.path.join(root, f"perun-{os.getuid()}")


def remove_directory(path: str) -> None:
    """Remove it with all that is in it; what is gone already, or in use by another user, is passed over.

    (``shutil.rmtree`` would do; importing it costs 5 ms before the application's start.)
    """
    for directory, _, names in os.walk(path, topdown=False):
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(directory, name))
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def marks_directory(local: str, rank: int) -> str:
    """Where the processes of a rank write their marks: the value of ``PERUN_RUN`` in their environment."""
    return os.path.join(local, str(rank))
