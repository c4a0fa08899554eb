"""A rank's way out of a run of several, from its application's end on: who waits for whom, and who makes a result.

Whoever has failed leaves at once, as the launcher must see it. Of the others, each leaves as soon as it sees that it is
not the last one on its host. Rank 0 waits longer if it can: it is the one that people look to for a result. Where it
has gone already, or must not wait, the last rank of all makes it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from perun_like.errors import FileError, PerunError
from perun_like.launch.claim import Claim, Roll, all_gone
from perun_like.launch.comm import Comm
from perun_like.launch.turns import close_run, set_aside
from perun_like.monitoring.room import check_room
from perun_like.sampling.host import host_identity
from perun_like.sampling.local import remove_directory
from perun_like.sampling.spool_reader import footer
from perun_like.store.place import RunPlace

_LOOK_EVERY_S = 0.02  # at what other hosts have written
_HEED_EVERY_S = 0.25  # whether somebody wants us to end
_SAMPLER_S = 10.0  # to complete its part
_OTHER_HOSTS_S = 5.0  # for rank 0, after the last rank of its host
_AT_ONCE_S = 0.5  # hosts whose ranks end together
_MAKING = "making-"


class Leaving:
    """What a rank does from its application's end on.

    Args:
        run: The run's directory on this host.
        roll: Of the run; the rank is on it, and is taken off.
        place: The run's.
        comm: Which rank it is.
        waits: Whether it may wait for ranks that still run. A process that measures itself may not: others may wait
            for it to go on to ``MPI_Finalize``.

    Attributes:
        problem: Why there is no result, for people; None if there is nothing to say.
    """

    def __init__(self, run: str, roll: Roll, place: RunPlace, comm: Comm, *, waits: bool) -> None:
        self._run, self._roll, self._place, self._comm = run, roll, place, comm
        self._waits = waits and comm.rank == 0
        # Of several hosts each makes its own part of the result, while the others do the same.
        several = comm.local_size != comm.size and waits
        self._making = f"{_MAKING}{zlib.crc32(host_identity().encode()):08x}" if several else None
        # Before leaving: as long as we are on the roll its samplers live, and can be seen to end.
        ends = [Claim(directory).end_fd() for directory in sampler_directories(run)]
        self._ends = [fd for fd in ends if fd is not None]
        if self._waits:
            self._ends.append(roll.end_fd())
        self._complete: set[int] = set()
        self.problem: str | None = None
        roll.leave()

    def makes_result(self, get_ready: Callable[[], None]) -> bool:
        """Wait as long as it is of use; whether everything is there and it is this rank that makes a result of it.

        Args:
            get_ready: Called when that is likely, while samplers complete their parts.
        """
        if not self._host_is_done(get_ready if self._may_make_it() else lambda: None):
            return False
        self._complete_what_was_cut()
        self._make_host_file()
        place = self._place if self._waits else self._place.take_over()
        if place is None:
            return False  # rank 0 is there, and waits for us
        there = self._all_there(_OTHER_HOSTS_S if self._waits else _AT_ONCE_S)
        if not there:
            place.unlock()
            there = self._lacking() == set()  # somebody may have looked just before we let go
        if not there and self._waits:
            self.problem = self._what_is_lacking()
        return there and self._place.is_first("result")

    def _may_make_it(self) -> bool:
        """Whether rank 0 doesn't hold the place, or this is it."""
        if self._waits:
            return True
        place = self._place.take_over()
        if place is not None:
            place.unlock()
        return place is not None

    def _host_is_done(self, get_ready: Callable[[], None]) -> bool:
        """Whether this is the last rank here, or rank 0, and all samplers here have ended."""
        deadline: float | None = None
        while True:
            if self._roll.ranks_alive():
                if not self._waits:
                    return False
                deadline = None
            elif deadline is None:
                deadline = time.monotonic() + _SAMPLER_S
                if self._making is not None and not self._place.is_first(self._making):
                    self._making = None  # another rank of this host makes it
                get_ready()
            if all_gone(self._ends, _HEED_EVERY_S):
                return True
            if _shall_end():
                return False
            if deadline is not None and time.monotonic() > deadline:
                return True  # a sampler that doesn't end: its part is lacking, and we say so

    def _make_host_file(self) -> None:
        """Make this host's part of the result, if that has been announced."""
        if self._making is None:
            return
        with suppress(OSError, PerunError):  # who makes the result tries again, and says what is wrong
            check_room()
            from perun_like.monitoring.host_files import make_host_file

            make_host_file(self._place, host_identity())
        with suppress(OSError):
            os.unlink(os.path.join(self._place.parts, self._making))

    def _complete_what_was_cut(self) -> None:
        """Do what samplers of this host would have done that were killed.

        The run's directory is removed only after that: a part that can't be completed says where the rest is.
        """
        if not os.path.isdir(self._run):
            return
        with suppress(OSError):  # another rank is doing it, or has done it
            close_run(self._run, lambda: False)
            with _alone_in(self._run):
                completed = [self._is_completed(*sampler) for sampler in _samplers(self._run)]
                if all(completed):
                    remove_directory(set_aside(self._run))

    def _is_completed(self, directory: str, name: str) -> bool:
        """Complete a sampler's part; whether nothing of what the sampler has left can be of use any more."""
        from perun_like.sampling.completing import complete, part_of  # few samplers are killed

        local = os.path.join(directory, name)
        part = self._place.part(f"{os.uname().nodename}-{name}")
        try:
            complete(part_of(local, part), local, self._run if directory == self._run else None)
        except FileError:  # what is left can't be understood without the part
            return True
        except FileNotFoundError:  # it never began one, or all are elsewhere
            return os.path.isdir(self._place.parts)
        except OSError:
            return False
        return True

    def _all_there(self, limit_s: float) -> bool:
        """Wait until the parts of all hosts are complete, and all have made of them what they can; whether they are.

        For a directory that is gone nobody waits: it was removed, or is a result already. Where there are no locks, or
        it was made anew, other ranks can't know that rank 0 holds it.
        """
        deadline = time.monotonic() + limit_s
        while (lacking := self._lacking()) or self._are_others_at_it():
            if time.monotonic() > deadline or _shall_end() or not os.path.isdir(self._place.parts):
                return not lacking
            time.sleep(_LOOK_EVERY_S)
        return True

    def _are_others_at_it(self) -> bool:
        """Whether other ranks make files of their hosts."""
        with suppress(OSError):  # all has become a result
            return any(name.startswith(_MAKING) for name in os.listdir(self._place.parts))
        return False

    def _lacking(self) -> set[int]:
        """Ranks of which nothing complete has come."""
        self._place.refresh()
        for path in self._place.part_files():
            self._complete.update((footer(path) or {}).get("ranks", ()))
        return set(range(self._comm.size)) - self._complete

    def _what_is_lacking(self) -> str | None:
        if not os.path.isdir(self._place.parts):
            removed = f"{self._place.parts} was removed, and what was sampled with it"
            return None if self._place.is_saved() else removed
        lacking = sorted(self._lacking())
        names = ", ".join(map(str, lacking[:5])) + (", …" if len(lacking) > 5 else "")
        parts = self._place.parts
        return (
            f"nothing has come from rank {names} after {_OTHER_HOSTS_S:g} s: if it still runs, the last rank to end "
            f"makes the result; if {os.path.dirname(parts)} isn't the same directory on all hosts, bring what is in "
            f"{os.path.basename(parts)} together; then, or if it has failed: perun-like recover {parts}"
        )


def _shall_end() -> bool:
    """Whether somebody wants this process to end, and is held back."""
    return bool(signal.sigpending() - {signal.SIGCHLD})


@contextmanager
def _alone_in(directory: str) -> Generator[None, None, None]:
    """Alone in a directory, while the context is open; a death ends that too.

    Raises:
        OSError: another process is in it, or it is gone.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _samplers(run: str) -> list[tuple[str, str]]:
    """Those of a run on this host that have left something: a directory, and the name of what is in it."""
    found = [(directory, name) for directory in sampler_directories(run) for name in os.listdir(directory)]
    return [(directory, name) for directory, name in found if name.startswith("sampler-")]


def sampler_directories(run: str) -> list[str]:
    """The directories of a run's samplers on this host: its own, and those of ranks that see other devices."""
    with suppress(OSError):
        return [run, *(os.path.join(run, name) for name in os.listdir(run) if name.startswith("view-"))]
    return []
