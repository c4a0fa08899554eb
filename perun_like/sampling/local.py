"""The directory of a run in its host's own memory: the sampler's tails and the application's marks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

_PART = "part"  # a link that leads nowhere: it is made in one step
_ROOM_B = 16 << 20  # for tails and marks; a dozen counters at 1 kHz take half of it


def make_local_directory(token: str, rank: int = 0) -> str:
    """A new private directory with one for the rank's marks in it; returns the path of the run's directory.

    It is in memory (``/dev/shm``), or among temporary files if only they have room for it.

    Raises:
        OSError: it can't be created in any of these places, or other users have taken them all.
    """
    *others, last = sorted(_places(), key=lambda place: not _has_room(place))
    for place in others:
        with contextlib.suppress(OSError):
            return _make(place, token, rank)
    return _make(last, token, rank)


def _has_room(place: str) -> bool:
    """Whether what a usual run has there would fit."""
    try:
        status = os.statvfs(os.path.dirname(place))
    except OSError:
        return False
    return status.f_bavail * status.f_frsize >= _ROOM_B


def private_directory() -> str:
    """The directory of this user's in which those of runs are; the same for all processes of a host.

    Raises:
        OSError: it can't be created in any of these places, or other users have taken them all.
    """
    *others, last = _places()
    for place in others:
        with contextlib.suppress(OSError):
            return _private(place)
    return _private(last)


def _private(ours: str) -> str:
    with contextlib.suppress(FileExistsError):
        os.mkdir(ours, 0o700)
    status = os.lstat(ours)
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise PermissionError(errno.EACCES, "exists, but is not a private directory of this user", ours)
    return ours


def _make(ours: str, token: str, rank: int) -> str:
    path = os.path.join(_private(ours), token)
    os.mkdir(path, 0o700)
    os.mkdir(marks_directory(path, rank), 0o700)
    return path


def is_local_directory(path: str) -> bool:
    """Whether a path, of untrusted origin, can be that of a run's directory on this host, or below it."""
    ours = any(path.startswith(place + os.sep) for place in _places())
    return ours and os.path.normpath(path) == path and os.path.realpath(path) == path and os.path.isdir(path)


def name_part(local: str, part: str | int) -> None:
    """Note in a directory which part its contents belong to, from now on.

    Args:
        local: The directory.
        part: The part's path, or a descriptor of it.

    Raises:
        OSError: it can't be noted.
    """
    new = os.path.join(local, f"{_PART}.new")
    os.symlink(_identity(part), new)
    os.rename(new, os.path.join(local, _PART))


def is_of_part(local: str, part: str | int) -> bool:
    """Whether a directory's contents belong to this very part, by path or descriptor: not to a copy of it."""
    try:
        return os.readlink(os.path.join(local, _PART)) == _identity(part)
    except OSError:
        return False


def _identity(part: str | int) -> str:
    status = os.stat(part)
    return f"{status.st_dev}:{status.st_ino}"


def _places() -> list[str]:
    """Directories of ours that may hold runs', the best first."""
    roots = ["/dev/shm", os.environ.get("TMPDIR") or "/tmp", "/tmp"]  # noqa: S108 - what is made there is private
    return [os.path.join(root, f"perun-{os.getuid()}") for root in dict.fromkeys(roots)]


def remove_directory(path: str) -> None:
    """Remove it with all that is in it, and the segments that it has links for.

    What is gone already, or in use by another user, is passed over. (``shutil.rmtree`` would do for files; importing it
    costs 5 ms before the application's start.)
    """
    found = list(os.walk(path, topdown=False))
    marked = [
        os.path.join(directory, name)
        for directory, _, names in found
        for name in names
        if name.startswith(("marks-", "rounds-"))
    ]
    if marked:
        from perun_like.sampling import segments  # few processes find any

        segments.remove(marked)
    for directory, _, names in found:
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(directory, name))
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def marks_directory(local: str, rank: int) -> str:
    """Where the processes of a rank write their marks: the value of ``PERUN_RUN`` in their environment."""
    return os.path.join(local, str(rank))
