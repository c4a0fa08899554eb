"""Which of a job's processes on this host samples it, and which of them are still there. The kernel keeps both.

All is in one directory of the run, in a host-local one that is ours alone. A lock and a named pipe say the same in two
ways: a lock can be tried but only be waited for by a thread; a pipe whose last writer has gone hangs up, which ``poll``
tells. Both are left behind by any death, and by nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")
_MAX_NAME = 200  # of 255 that file systems take


def job_directory(ours: str, host_id: str, job_id: str) -> str:
    """The directory of a job on this host, made if there is none; the same for all its processes here.

    Args:
        ours: A directory on this host that only this user can write to.
        host_id: The host's identity.
        job_id: The job's id, any characters.

    Raises:
        OSError: it can't be made.
    """
    path = os.path.join(ours, _file_name(f"job {host_id} {job_id}"))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    return path


class Claim:
    """The right to sample this host for a job: one process has it, and its death passes it on.

    It lives with two descriptors, :attr:`fds`. A process that inherits them (the sampler) holds the claim as well, and
    it ends when the last of the holders has closed them or died.

    Args:
        directory: The run's, or one in it.

    Attributes:
        held: Whether this process has taken it.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = os.path.join(directory, "claim")
        self._alarm = os.path.join(directory, "holder")
        self._lock_fd: int | None = None
        self._alarm_fd: int | None = None
        self.held = False

    @property
    def fds(self) -> tuple[int, ...]:
        """What holds the claim: for a process that shall hold it too."""
        return tuple(fd for fd in (self._lock_fd, self._alarm_fd) if self.held and fd is not None)

    def try_take(self) -> bool:
        """Take the claim if no living process has it; whether this process has it now.

        Raises:
            OSError: there can be no locks or pipes in that directory.
        """
        if self.held:
            return True
        # The pipe first: whoever has the lock must be seen to die, at any instant.
        reader = _pipe_reader(self._alarm)
        self._alarm_fd = os.open(self._alarm, os.O_WRONLY | os.O_NONBLOCK)
        os.close(reader)
        self._lock_fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self.held = _locked(self._lock_fd)
        if not self.held:
            self.close()
        return self.held

    def end_fd(self) -> int | None:
        """A descriptor for ``poll``: it hangs up (POLLHUP) when the holder has gone; None if nobody holds the claim."""
        with contextlib.suppress(FileNotFoundError):
            reader = os.open(self._alarm, os.O_RDONLY | os.O_NONBLOCK)
            lock = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            free = _locked(lock, fcntl.LOCK_SH)
            os.close(lock)
            if not free:
                return reader
            os.close(reader)
        return None

    def close(self) -> None:
        """Have no part in it any more. A process that inherited the claim keeps it."""
        for fd in (self._lock_fd, self._alarm_fd):
            if fd is not None:
                os.close(fd)
        self._lock_fd = self._alarm_fd = None
        self.held = False


class Roll:
    """Which ranks of a job have their application running on this host.

    Args:
        directory: The run's.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.path.join(directory, "ranks")
        self._pipe = os.path.join(directory, "running")
        self._fds: tuple[int, ...] = ()

    def enter(self, rank: int, note: str = "") -> None:
        """Be on the roll until :meth:`leave` or death.

        Args:
            rank: This process's.
            note: What the others may want to know, such as where it writes its marks.

        Raises:
            OSError: there can be no locks or pipes in that directory.
        """
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._directory, 0o700)
        reader = _pipe_reader(self._pipe)
        writer = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        os.close(reader)
        entry = os.open(os.path.join(self._directory, str(rank)), os.O_RDWR | os.O_CREAT, 0o600)
        self._fds = (entry, writer)
        fcntl.flock(entry, fcntl.LOCK_EX)
        os.truncate(entry, 0)
        os.write(entry, note.encode())

    def ranks_alive(self) -> dict[int, str]:
        """The notes of the ranks that are on the roll now."""
        found: dict[int, str] = {}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._directory):
                fd = os.open(os.path.join(self._directory, name), os.O_RDONLY | os.O_NONBLOCK)
                if not _locked(fd, fcntl.LOCK_SH):
                    with open(fd, encoding="utf-8", closefd=False) as file:
                        found[int(name)] = file.read()
                os.close(fd)
        return found

    def end_fd(self) -> int:
        """A descriptor for ``poll``: it hangs up (POLLHUP) when the last rank has left the roll.

        Only for who is on the roll itself while asking for it, or has others on it: before the first it is silent.
        """
        return _pipe_reader(self._pipe)

    def leave(self) -> None:
        """Be off the roll."""
        for fd in self._fds:
            os.close(fd)
        self._fds = ()


def all_gone(ends: list[int], limit_s: float) -> bool:
    """Wait until all of some descriptors have hung up; whether they have. Those that have are closed and taken out.

    Args:
        ends: From :meth:`Claim.end_fd` and :meth:`Roll.end_fd`.
        limit_s: How long to wait.
    """
    deadline = time.monotonic() + limit_s
    while ends:
        waiting = select.poll()
        for fd in ends:
            waiting.register(fd, 0)  # a hang-up is always told
        gone = waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
        for fd, _ in gone:
            ends.remove(fd)
            os.close(fd)
        if not gone:
            return False
    return True


def _pipe_reader(path: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def _locked(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _file_name(text: str) -> str:
    """A name that no other text has."""
    name = "".join(char if char in _PLAIN else f"_{ord(char):x}_" for char in text)
    if len(name) <= _MAX_NAME:
        return name
    import hashlib  # takes 5 ms

    return f"{name[:40]}__{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}"
