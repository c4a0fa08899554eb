"""A sampler's part within its budget on disk: once it is beyond, another process rewrites it coarser."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from perun_like.sampling.spool import Part

_SUFFIX = ".coarser"
_BOOT = "import sys; sys.path += sys.argv[6:]; from perun_like.sampling.coarser import main; main(sys.argv[1:6])"


class Budget:
    """Looks after the size of a part.

    While the part is rewritten the sampler goes on with it; what it has added meanwhile is added to the new one before
    that takes its place. Until then both take room: one and a half times the budget. Where nothing more can be left
    out the part grows, by a row every ten seconds, and is rewritten again when it has doubled.

    Args:
        part: The part.
        budget_b: What it may take.
    """

    def __init__(self, part: Part, budget_b: int) -> None:
        self._part, self._budget_b = part, budget_b
        self._limit_b = budget_b
        self._pid = 0
        self._from_b = 0
        self._fd = part.fileno()
        self._beside = part.path + _SUFFIX

    def look(self) -> None:
        """Begin to rewrite the part if it has become too large, or go on with what has been rewritten.

        Neither takes long: this is for the moment after rows have been moved.
        """
        if self._pid:
            self._look_after()
        elif self._part.size_b > self._limit_b:
            self._begin()

    def abandon(self) -> None:
        """Leave the part as it is: it will be complete in a moment."""
        if self._pid:
            if self._ended() is None:  # as long as nobody has waited for it, its number is nobody else's
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            self._give_up()

    def _ended(self) -> int | None:
        """The status of the process that rewrites; None while it goes on."""
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it: how it ended is not known
            return -1
        return status if pid else None

    def _begin(self) -> None:
        self._from_b, self._fd = self._part.size_b, self._part.fileno()
        self._beside = self._part.path + _SUFFIX
        self._remove()  # a sampler that was killed has left it
        goal_b = self._budget_b // 2  # so that it isn't needed again too soon
        order = [str(os.getpid()), self._part.path, self._beside, str(self._from_b), str(goal_b)]
        # It must hold nothing that tells others whether we live.
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        argv = [sys.executable, "-I", "-S", "-c", _BOOT, *order, *sys.path]
        try:
            self._pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=quiet)
        except OSError:  # no room for a process more: perhaps later
            self._give_up()

    def _look_after(self) -> None:
        status = self._ended()
        if status is None:
            return
        self._pid = 0
        # The disk is full, or somebody has killed it; or what it has read wasn't the part, which has lost its place.
        if status or self._part.fileno() != self._fd:
            self._give_up()
            return
        try:
            self._part.become(self._beside, self._from_b)
        except OSError:
            self._give_up()
        else:
            self._limit_b = max(self._budget_b, 2 * self._part.size_b)

    def _give_up(self) -> None:
        """For now: until as much again has been written."""
        self._pid = 0
        self._limit_b = self._part.size_b + self._budget_b // 2
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._beside)
