"""Where the results of a run go: ``<output>/<name>/<run id>.h5``, and until then ``<run id>.parts`` beside it.

A job's parts are in ``<output>/job-<hash>.parts``: its ranks know neither when the run was started, which names it,
nor whether all of them run the same program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import zlib
from itertools import count
from typing import NamedTuple

from perun_like.errors import FileError, InputError, PerunError, StillWrittenError
from perun_like.store.belongings import DAMAGED, is_belonging, remove_belongings

PARTS_SUFFIX = ".parts"
_TRIES, _TRY_EVERY_S = 100, 0.01
_CLOCKS_APART_S = 2.0  # of a file server and its clients


def new_run_id() -> str:
    """An id that sorts by time and that no other run has."""
    return time.strftime("%Y-%m-%dT%H%M%S-") + os.urandom(4).hex()


def mark_of(parts: str) -> str:
    """What the id of a run ends with that was given none: made of the directory of its parts."""
    return f"{zlib.crc32(os.path.basename(os.path.normpath(parts)).encode()) & 0xFFFF:04x}"


class Lock:
    """What keeps others away while we live.

    Args:
        fd: A locked descriptor; -1 where the file system has no locks.
    """

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    def release(self) -> None:
        """Let others in. Safe to repeat: by then the descriptor's number may be that of another file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):  # the program has closed it
                os.close(fd)


class RunPlace(NamedTuple):
    """The place of one run.

    Attributes:
        path: The results file.
        parts: The directory of the parts while the run goes on.
        lock: Keeps ``recover`` away while we live.
    """

    path: str
    parts: str
    lock: Lock = Lock()

    @classmethod
    def claim(cls, output: str, name: str, run_id: str) -> RunPlace:
        """Take the place before the application starts, so that no run ever touches another's results.

        Raises:
            InputError: another run has this id, or the directory can't be written.
        """
        directory = os.path.join(output, name)
        place = cls(os.path.join(directory, f"{run_id}.h5"), os.path.join(directory, run_id + PARTS_SUFFIX))
        try:
            os.makedirs(directory, exist_ok=True)
            os.mkdir(place.parts)  # atomic: of two runs with one id, one gets it
        except FileExistsError:
            raise InputError(_taken(run_id, place.parts)) from None
        except OSError as error:
            raise InputError(_cannot_write(directory, error)) from None
        if os.path.exists(place.path):
            os.rmdir(place.parts)
            raise InputError(_taken(run_id, place.path))
        return place._replace(lock=Lock(_lock(place.parts)))

    @classmethod
    def claim_together(
        cls, output: str, name: str, run_id: str | None, job: str, launched_unix_s: float | None = None
    ) -> RunPlace:
        """Take the place of a run of several ranks, together with the others of its job.

        Args:
            output: Directory of results.
            name: The application's name.
            run_id: What the user calls the run; None: it is named by when it was started, once that is known.
            job: Tells the run from those of other jobs, and from others of its own; equal on all ranks.
            launched_unix_s: Given by rank 0, who holds the place: when the job was launched. What was left there
                before is not of this job.

        Raises:
            InputError: another run has this id, or the directory can't be written.
        """
        stem = f"job-{zlib.crc32(job.encode(errors='surrogateescape')):08x}"
        parts = os.path.join(output, stem + PARTS_SUFFIX)
        path = os.path.join(output, name, f"{run_id or stem}.h5")
        if run_id is not None and os.path.exists(path):
            raise InputError(_taken(run_id, path))
        try:
            os.makedirs(parts, exist_ok=True)
        except OSError as error:
            raise InputError(_cannot_write(output, error)) from None
        if launched_unix_s is None:
            return cls(path, parts)
        _move_aside(parts, launched_unix_s)
        return cls(path, parts, Lock(_lock_soon(parts)))

    @classmethod
    def of_parts(cls, parts: str) -> RunPlace:
        """The place whose parts are in a directory, to assemble them.

        Raises:
            InputError: this is not the directory of a run's parts.
            StillWrittenError: a monitor or a sampler of the run still lives.
            FileError: there is something in it that no run leaves there.
        """
        parts = os.path.normpath(parts)
        if not parts.endswith(PARTS_SUFFIX) or not os.path.isdir(parts):
            raise InputError(f"{parts} is not the {PARTS_SUFFIX} directory of a run that was cut short")
        _check_plain(parts)
        for name in os.listdir(parts):  # a sampler holds a lock on its part for as long as it lives
            if (lock := _lock(os.path.join(parts, name))) >= 0:
                os.close(lock)
        return cls(parts[: -len(PARTS_SUFFIX)] + ".h5", parts, Lock(_lock(parts)))

    def part(self, host: str) -> str:
        """The file of one host's part."""
        return os.path.join(self.parts, f"{host}.part")

    def part_files(self) -> list[str]:
        """The parts that are there."""
        with contextlib.suppress(OSError):
            return [os.path.join(self.parts, name) for name in os.listdir(self.parts) if name.endswith(".part")]
        return []

    def is_empty(self) -> bool:
        """Whether the parts are there and have nothing: on a full disk there may be no room even for a beginning."""
        try:
            os.listdir(self.parts)
        except OSError:  # it is gone, or this process has no descriptor left to look
            return False
        return not any(map(_has_data, self.part_files()))

    def refresh(self) -> None:
        """Have a network file system look again at what other hosts have written: it does so where one writes."""
        probe = os.path.join(self.parts, f".look-{os.getpid()}")
        with contextlib.suppress(OSError):
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600))
            os.unlink(probe)

    def named(self, run_id: str, name: str | None = None) -> RunPlace:
        """The same place once the run's id is known, and for a job its name.

        Raises:
            OSError: its directory can't be made.
        """
        directory = os.path.dirname(self.parts)
        if name is not None:
            directory = os.path.join(directory, name)
            os.makedirs(directory, exist_ok=True)
        return self._replace(path=os.path.join(directory, f"{run_id}.h5"))

    def is_saved(self) -> bool:
        """Whether there is a results file of this run, by the id that it was given or by one made of its parts."""
        directory, name = os.path.split(self.path)
        with contextlib.suppress(OSError):
            return any(there == name or there.endswith(f"-{mark_of(self.parts)}.h5") for there in os.listdir(directory))
        return False

    def take_over(self) -> RunPlace | None:
        """The same place held by this process, if nobody holds it now; None if somebody does."""
        try:
            return self._replace(lock=Lock(_lock(self.parts)))
        except PerunError:
            return None

    def is_first(self, what: str) -> bool:
        """Whether no other process has asked this of this run before."""
        try:
            os.close(os.open(os.path.join(self.parts, what), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except OSError:  # or the parts have become a file in the meantime
            return False
        return True

    def release(self) -> None:
        """Remove the parts: they have become the results file, or nothing was recorded. What isn't a run's stays.

        Damaged ones get a place beside the file: ``<run id>.damaged``.
        """
        aside = os.path.join(self.parts, DAMAGED)
        with contextlib.suppress(OSError):  # most often there are none
            for name in sorted(os.listdir(aside)):
                move_into(os.path.join(aside, name), f"{self.path.removesuffix('.h5')}.{DAMAGED}")
            os.rmdir(aside)
        remove_belongings(self.parts)
        self.unlock()

    def unlock(self) -> None:
        """Let others at the parts: we are done with them, whether they have become a file or not."""
        self.lock.release()


def move_into(path: str, directory: str) -> None:
    """Move a file into a directory, which is made, and never over another one: it then gets a number.

    Raises:
        OSError: it can't be done.
    """
    os.makedirs(directory, exist_ok=True)
    stem, ending = os.path.splitext(os.path.basename(path))
    for number in count(1):
        name = f"{stem}{ending}" if number == 1 else f"{stem}-{number}{ending}"
        if not os.path.lexists(os.path.join(directory, name)):
            os.rename(path, os.path.join(directory, name))
            return


def _check_plain(directory: str) -> None:
    """See that there are only files, and directories of files, in a directory whose files are going to be removed.

    Raises:
        FileError: there is a link, a pipe or the like: what it leads to isn't ours to read or to remove.
    """
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _check_plain(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                kind = "a link" if entry.is_symlink() else "neither a file nor a directory"
                raise FileError(f"{entry.path} is {kind}, which no run leaves: remove it and try again")


def _has_data(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False


def _lock(path: str, kind: int = fcntl.LOCK_EX) -> int:
    """Lock a file or directory for as long as the descriptor is open; -1 if this file system can't.

    Raises:
        StillWrittenError: somebody else has it locked.
    """
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)  # a pipe, a link are no parts
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StillWrittenError(f"{path} is still being written: wait until its program has ended") from None
    except OSError:
        if fd >= 0:
            os.close(fd)
        return -1
    return fd


def _lock_soon(path: str) -> int:
    """The same for who has the right to it, while others may look whether they have; -1 if they don't let go."""
    for _ in range(_TRIES):
        with contextlib.suppress(PerunError):
            return _lock(path)
        time.sleep(_TRY_EVERY_S)
    return -1


def _move_aside(parts: str, launched_unix_s: float) -> None:
    """Give what an earlier job of the same id has left, cut short, a directory of its own."""
    with os.scandir(parts) as entries:
        left = [(entry.name, entry.path) for entry in entries if is_belonging(entry)]
    for name, path in left:
        with contextlib.suppress(OSError, PerunError):  # another host's sampler has removed it, or still has it
            written_s = os.stat(path).st_mtime
            if written_s < launched_unix_s - _CLOCKS_APART_S:
                lock = _lock(path)
                aside = f"{parts.removesuffix(PARTS_SUFFIX)}-before-{launched_unix_s:.0f}{PARTS_SUFFIX}"
                os.makedirs(aside, exist_ok=True)
                os.rename(path, os.path.join(aside, name))
                os.close(lock)


def _cannot_write(directory: str, error: OSError) -> str:
    return f"can't write results to {directory}: {error.strerror}; choose another directory with --output"


def _taken(run_id: str, path: str) -> str:
    hint = " (in progress, or cut short: perun-like recover)" if path.endswith(PARTS_SUFFIX) else ""
    return f"run id {run_id!r} is taken: {path} exists{hint}; leave out --run-id for a new id, or give another"
