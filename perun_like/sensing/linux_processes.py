"""The application's process tree, from ``/proc``, as processes come and go.

Who belongs to it: the application's first process; every process seen as a child of a member, which stays one when
its parent dies; and a daemon that was never seen with its parent, by the environment variable it inherited. Only
processes that are new since the last scan are examined, so a crowded node costs one listing.

A total may not lose the time of a process that ends between two scans, nor count it twice. When a process is
waited for, the kernel adds its time to its parent's ``cutime`` and ``cstime``, so the sum over all members of own
and inherited time holds it already. When nobody waits (SIGCHLD ignored, or the parent died first) it is gone: what
was last seen of it is kept. Which of the two happened is told by how much the parent inherited meanwhile. Members
are read parents first: a child seen alive after its parent was read can't be in the parent's time yet. A child that
has vanished, but not into its parent's time as read just before it, is judged at the next scan.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from perun_like.sensing.contract import Context

_NOTHING = (None,) * 6
_PAGE_B = os.sysconf("SC_PAGE_SIZE")
_ZERO = (0, 0, 0)
# The kernel shows own and inherited time in whole ticks, user and system apart: a parent may seem to have inherited
# this much less than its child was seen to use.
_ROUNDING_TICKS = 2

Amounts = tuple[int, int, int]  # ticks of CPU time, bytes read from storage, bytes written


class Seen(NamedTuple):
    """One process as it was last seen.

    Attributes:
        start: Its start time: with the pid, what tells it from a later process of the same number.
        used: Its own and inherited amounts.
        inherited: The part of ``used`` that came from processes it waited for, at most: storage has only the sum.
        faults: Page faults so far: without a new one its resident memory can't have grown.
        texts: What its files stat, io and statm said: as long as they say the same, nothing has changed.
    """

    pid: int
    parent: int
    start: int
    zombie: bool
    used: Amounts
    inherited: Amounts
    faults: int
    rss_b: int
    rss_peak_b: int
    texts: tuple[bytes, bytes, bytes]


class ProcessTree:
    """Probe of the process trees of ``context.application_pids``; see ``System.processes`` for its values."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._proc = context.proc_root
        self._token = f"PERUN_RUN={context.run_token}".encode() if context.run_token else None
        self._members: dict[int, Seen] = {}
        self._vanished: list[Seen] = []  # since the last scan, and not in any member's time yet
        self._kept: Amounts = _ZERO  # of processes that nobody waited for
        self._shown = [0, 0, 0]  # the totals last told
        self._started = 0
        self._root: Seen | None = None
        self._sees_storage = False
        # What runs before the application starts can't be part of it, and needn't be examined.
        self._others = set(self._listing()) if context.application_pid is None else {os.getpid()}

    def read(self) -> tuple[int | None, ...]:
        """Ticks, resident bytes, sum of resident peaks in bytes, processes, bytes read, bytes written."""
        self._start_new()
        if self._root is None:
            return _NOTHING
        before, self._members = self._members, {}
        for old in before.values():
            now = self._look(old.pid, old)
            if now is not None:
                self._members[old.pid] = now
        self._settle([old for old in before.values() if old.pid not in self._members], before)
        listed = self._listing()
        self._others.intersection_update(listed)  # a number may be given to another process
        self._admit(pid for pid in listed if pid not in self._others)
        return self._sums()

    def close(self) -> None:
        """Nothing is held: a descriptor a process would meet the limit on open files on the nodes that matter."""

    def _start_new(self) -> None:
        """Watch the processes that the application has been started with since."""
        pids = self._context.application_pids[self._started :]
        self._started += len(pids)
        for pid in pids:
            if (first := self._look(pid)) is not None:
                self._start(first)

    def _start(self, first: Seen) -> None:
        self._root = self._root or first
        self._sees_storage = _storage(first.texts[1]) is not None  # a kernel may be built without it
        self._members[first.pid] = first
        if first.pid in self._others:  # a rank that had begun before we looked may have children by now
            self._others = {os.getpid()}

    def _listing(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        except OSError:
            return []

    def _look(self, pid: int, old: Seen | None = None) -> Seen | None:
        """The process now; None if it is gone, or if its number is another's by now."""
        folder = f"{self._proc}/{pid}"
        texts = stat, io, statm = _slurp(f"{folder}/stat"), _slurp(f"{folder}/io"), _slurp(f"{folder}/statm")
        if old is not None and texts == old.texts:
            return old
        if not stat:
            return None
        fields = stat[stat.rindex(b")") + 2 :].split(b" ", 20)  # the name before may hold anything
        start = int(fields[19])
        if old is not None and start != old.start:
            return None
        inherited = int(fields[13]) + int(fields[14])
        faults = int(fields[7]) + int(fields[9])
        storage = _storage(io) or ((old.used[1], old.used[2]) if old is not None else (0, 0))
        return Seen(
            pid=pid,
            parent=int(fields[1]),
            start=start,
            zombie=fields[0] == b"Z",
            used=(int(fields[11]) + int(fields[12]) + inherited, storage[0], storage[1]),
            inherited=(inherited, storage[0], storage[1]),
            faults=faults,
            rss_b=_rss_b(statm),
            rss_peak_b=old.rss_peak_b if old is not None and faults == old.faults else self._rss_peak_b(pid),
            texts=texts,
        )

    def _rss_peak_b(self, pid: int) -> int:
        _, _, rest = _slurp(f"{self._proc}/{pid}/status").partition(b"VmHWM:")
        words = rest.split(None, 1)
        return int(words[0]) * 1024 if words else 0  # a zombie has no memory any more

    def _settle(self, gone: list[Seen], before: dict[int, Seen]) -> None:
        """Keep what members that vanished used, unless their ancestors inherited it."""
        credit: dict[int, Amounts] = {}
        undecided, self._vanished = self._vanished, []
        for seen, waited in [(s, True) for s in undecided] + [(s, False) for s in gone]:
            heir = self._heir(seen, before)
            if heir is None:
                self._keep(seen.used)
                continue
            have = credit.get(heir.pid) or _minus(heir.inherited, before[heir.pid].inherited)
            credit[heir.pid] = _minus(have, seen.used)
            left = _minus(seen.used, have)
            if left[0] <= _ROUNDING_TICKS:
                left = (0, left[1], left[2])
            if waited and heir.pid == seen.parent:  # else its heir has vanished too: where its time is shows next
                self._keep(left)
            elif left != _ZERO:
                self._vanished.append(seen._replace(used=left, parent=heir.pid))

    def _heir(self, seen: Seen, before: dict[int, Seen]) -> Seen | None:
        """The nearest ancestor that still lives."""
        parent = seen.parent
        while parent not in self._members and parent in before:
            parent = before[parent].parent
        return self._members.get(parent) if parent in before else None

    def _keep(self, amounts: Amounts) -> None:
        kept = self._kept
        self._kept = (kept[0] + amounts[0], kept[1] + amounts[1], kept[2] + amounts[2])

    def _admit(self, unknown: Iterable[int]) -> None:
        """Sort the processes that are new: members, parents first, and others."""
        fresh = {pid: seen for pid in unknown if pid not in self._members and (seen := self._look(pid))}
        while found := self._children_in(fresh) or self._daemons_in(fresh):
            for pid in found:
                del fresh[pid]
                now = self._look(pid)  # again, after its parent has been read
                if now is not None:
                    self._members[pid] = now
        self._others.update(fresh)

    def _children_in(self, fresh: dict[int, Seen]) -> list[int]:
        return [pid for pid, seen in fresh.items() if seen.parent in self._members]

    def _daemons_in(self, fresh: dict[int, Seen]) -> list[int]:
        return [pid for pid, seen in fresh.items() if seen.parent not in fresh and self._marked(seen)]

    def _marked(self, seen: Seen) -> bool:
        """Whether it inherited the run's environment variable: a daemon whose parents died before we looked."""
        root = self._root
        if self._token is None or root is None or seen.start < root.start:
            return False
        entries = _slurp(f"{self._proc}/{seen.pid}/environ", 1 << 18).split(b"\0")
        return any(entry.startswith(self._token) for entry in entries)

    def _sums(self) -> tuple[int | None, ...]:
        members = self._members.values()
        totals = [
            kept + sum(seen.used[k] for seen in members) + sum(seen.used[k] for seen in self._vanished)
            for k, kept in enumerate(self._kept)
        ]
        # Rounding may take a tick back; a counter may not. Not a tuple: of those that are made of an iterable Python
        # keeps 2,000 for later, so that memory would grow for the first half an hour.
        ticks, read_b, written_b = self._shown = list(map(max, self._shown, totals))
        alive = [seen for seen in members if not seen.zombie]
        # Of an application that has ended memory is not known, rather than 0.
        rss_b = sum(seen.rss_b for seen in alive) if alive else None
        rss_peak_b = sum(seen.rss_peak_b for seen in alive) if alive else None
        storage = (read_b, written_b) if self._sees_storage else (None, None)
        return ticks, rss_b, rss_peak_b, len(alive), *storage


def _minus(a: Amounts, b: Amounts) -> Amounts:
    """Element by element, not below zero."""
    return max(0, a[0] - b[0]), max(0, a[1] - b[1]), max(0, a[2] - b[2])


def _storage(io: bytes) -> tuple[int, int] | None:
    """Bytes read and written, of the process and those it waited for; None where that isn't ours to see."""
    words = io.split()
    return (int(words[9]), int(words[11])) if len(words) > 11 else None


def _rss_b(statm: bytes) -> int:
    """From statm: the figure in stat is off by up to some hundred pages a CPU since Linux 6.2."""
    words = statm.split(None, 2)
    return int(words[1]) * _PAGE_B if len(words) > 1 else 0


def _slurp(path: str, size: int = 4096) -> bytes:
    """A file's first bytes; none if it is gone or not ours to read: processes end while they are looked at."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, size)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
