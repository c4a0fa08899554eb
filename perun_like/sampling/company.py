"""The ranks of a job on this host, as the sampler sees them that works for all of them."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping
from typing import Any

from perun_like.launch.claim import Roll
from perun_like.launch.turns import close_run
from perun_like.sampling.ranks import ranks_in, read_notes, say_ready

_LATE_S = 1.0  # ranks of one launch may be so far apart at their start
_LOOK_EVERY_S = 0.01


class Company:
    """Those whose processes are measured, whoever of them has started the sampler.

    Args:
        run: The directory that they share.
        directory: This sampler's: the same, or that of those who see other devices.
        expected: How many ranks the host has; None if that isn't known.
        view: What tells which devices this sampler can open.

    Attributes:
        run: The directory that they share.
        is_first: Whether this sampler is the host's, and not a second one for other devices.
        until_fd: Hangs up when no rank is left.
    """

    def __init__(self, run: str, directory: str, expected: int | None, view: str) -> None:
        self.run = run
        self.is_first = run == directory
        self.until_fd = Roll(run).end_fd()
        self._directory, self._expected, self._view = directory, expected, view
        self._notes: dict[int, dict[str, Any]] = {}
        self._seen: set[int] = set()

    def look(self) -> None:
        """See who has come since, and what they have noted."""
        self._notes = read_notes(self.run)

    @property
    def pids(self) -> list[int]:
        """Of the processes that ranks have started."""
        return [note["process"]["pid"] for note in self._notes.values() if "process" in note]

    @property
    def bound(self) -> list[list[int]]:
        """CPUs of each rank that is bound to some."""
        return [note["cpus"] for note in self._notes.values() if note.get("cpus")]

    def newcomers(self) -> dict[int, Mapping[str, str]]:
        """Ranks not told before that can open what this sampler can, and the variables that tell which to use."""
        told = {rank: note.get("environ", {}) for rank, note in self._notes.items() if note.get("view") == self._view}
        new = {rank: environ for rank, environ in told.items() if rank not in self._seen}
        self._seen.update(new)
        return new

    @property
    def last_stop_ns(self) -> int:
        """When the last of the processes ended: now, if that isn't known of one of them."""
        stops = [note["process"].get("stop_ns") for note in self._notes.values() if "process" in note]
        known = [stop for stop in stops if stop is not None]
        return max(known, default=0) if len(known) == len(stops) else time.monotonic_ns()

    @property
    def is_last_run(self) -> bool:
        """Whether all of the host's ranks were started by the launcher itself: it doesn't start them again."""
        return len(self._notes) == self._expected and all(note.get("by_launcher") for note in self._notes.values())

    def say_ready(self, *, hides: bool) -> None:
        """Tell the ranks that wait for it that everything has been read once: see :func:`ranks.say_ready`."""
        say_ready(self._directory, hides=hides)

    def is_over(self) -> bool:
        """Whether the last rank has gone, and nobody comes any more."""
        if not self._left():
            return False
        deadline = time.monotonic() + _LATE_S
        while len(ranks_in(self.run)) < (self._expected or 0) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        if not self._left():
            return False
        return close_run(self.run, lambda: bool(Roll(self.run).ranks_alive())) if self.is_first else True

    def _left(self) -> bool:
        """Whether nobody is there now."""
        waiting = select.poll()
        waiting.register(self.until_fd, 0)  # a hang-up is always told
        return bool(waiting.poll(0)) or not os.path.isdir(self.run)
