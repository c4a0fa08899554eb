"""A simulated ``/proc``: processes that fork, run, end and are waited for between any two files that are read.

Every amount is known, so what a reader makes of it can be compared with the truth.
"""

from __future__ import annotations

import random

ROOT = 100
_PROFILER = 1


class Simulated:
    """One process."""

    def __init__(self, pid: int, parent: int, start: int) -> None:
        self.pid = pid
        self.parent = parent
        self.start = start
        self.own = 0
        self.inherited = 0
        self.zombie = False


class Forest:
    """The tree of one application, which started at time 0 with one process.

    Args:
        rng: What happens next.
        reaping: Whether parents wait for their children; otherwise the kernel discards them, and their time.
    """

    def __init__(self, rng: random.Random, reaping: bool = True) -> None:
        self._rng = rng
        self._reaping = reaping
        self._next_pid = ROOT + 1
        self.alive = {ROOT: Simulated(ROOT, _PROFILER, 0)}
        self.lost = 0  # time of processes that nobody inherited

    def total(self) -> int:
        """Time that all processes there ever were have used."""
        return self.lost + sum(process.own + process.inherited for process in self.alive.values())

    def step(self) -> None:
        """One random event."""
        pid = self._rng.choice(list(self.alive))
        process = self.alive[pid]
        event = self._rng.random()
        if process.zombie:
            self._reap(process)
        elif event < 0.35:
            process.own += self._rng.randrange(5)
        elif event < 0.6 and len(self.alive) < 12:
            self.alive[self._next_pid] = Simulated(self._next_pid, pid, self._next_pid)
            self._next_pid += 1
        elif event > 0.75 and pid != ROOT:
            self._end(process)

    def _end(self, process: Simulated) -> None:
        for child in self.alive.values():
            if child.parent == process.pid:
                child.parent = _PROFILER  # as init adopts them
        if self._reaping and process.parent in self.alive:
            process.zombie = True
        else:
            self.lost += process.own + process.inherited
            del self.alive[process.pid]

    def _reap(self, process: Simulated) -> None:
        parent = self.alive.get(process.parent)
        if parent is None or parent.zombie:
            self.lost += process.own + process.inherited
        else:
            parent.inherited += process.own + process.inherited
        del self.alive[process.pid]

    def file(self, path: str) -> bytes:
        """A file of the simulated ``/proc``; something may happen just before it is read."""
        for _ in range(self._rng.randrange(3)):
            self.step()
        _, pid, name = path.rsplit("/", 2)
        process = self.alive.get(int(pid))
        if process is None:
            return b""
        if name == "environ":
            return b"HOME=/\0PERUN_RUN=token\0"
        return self._stat(process) if name == "stat" else b""

    def listing(self) -> list[int]:
        """Numbers of the processes there are."""
        return [_PROFILER, *self.alive]

    def _stat(self, process: Simulated) -> bytes:
        state = "Z" if process.zombie else "S"
        times = f"{process.own} 0 {process.inherited} 0"
        head = f"{process.pid} (a) b) {state} {process.parent} 1 1 0 -1 0 7 0 0 0"
        return f"{head} {times} 20 0 1 0 {process.start} 4096 1 0 0\n".encode()
