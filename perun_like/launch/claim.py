"""Which of a job's processes on this host samples it, and which of them are still there. The kernel keeps both.

All is in one directory of the job, in a host-local one that is ours alone. A lock and a named pipe say the same in two
ways: a lock can be tried but only be waited for by a thread; a pipe whose last writer has gone tells its readers by a
signal. Both are left behind by any death, and by nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal

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
        directory: The job's, from :func:`job_directory`.

    Attributes:
        held: Whether this process has taken it.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path = os.path.join(directory, "claim")
        self._alarm = os.path.join(directory, "holder")
        self._lock_fd: int | None = None
        self._alarm_fd: int | None = None
        self._watch_fd: int | None = None
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
            self._let_go()
        return self.held

    def watch(self) -> bool:
        """Have SIGIO sent to this process whenever the holder has gone: time for :meth:`try_take`.

        The signal must be held back (a :class:`~perun_like.launch.child.SignalGate` does), as it ends a process that
        doesn't expect it. It may come without a reason. After this call, try once: the holder may have gone before.

        Returns:
            Whether it will be sent: no if it isn't held back, or where pipes don't send signals.
        """
        if signal.SIGIO not in signal.pthread_sigmask(signal.SIG_BLOCK, []):
            return False
        if self._watch_fd is None:
            self._watch_fd = _pipe_reader(self._alarm)
            fcntl.fcntl(self._watch_fd, fcntl.F_SETOWN, os.getpid())
            flags = fcntl.fcntl(self._watch_fd, fcntl.F_GETFL)
            fcntl.fcntl(self._watch_fd, fcntl.F_SETFL, flags | os.O_ASYNC)
        return True

    def close(self) -> None:
        """Have no part in it any more. A process that inherited the claim keeps it."""
        if self._watch_fd is not None:
            os.close(self._watch_fd)
            self._watch_fd = None
            signal.sigtimedwait({signal.SIGIO}, 0)  # else it would end us once signals are let through
        self._let_go()

    def _let_go(self) -> None:
        for fd in (self._lock_fd, self._alarm_fd):
            if fd is not None:
                os.close(fd)
        self._lock_fd = self._alarm_fd = None
        self.held = False


class Roll:
    """Which ranks of a job have their application running on this host.

    Args:
        directory: The job's, from :func:`job_directory`.
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
                fd = os.open(os.path.join(self._directory, name), os.O_RDONLY)
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
