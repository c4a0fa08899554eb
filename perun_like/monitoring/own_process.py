"""This process as the application: marks of what it measures of itself, and how its children find them."""

from __future__ import annotations

import os
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

from perun_like.clock import Clock
from perun_like.launch.comm import Comm
from perun_like.monitoring.measurement import Measurement
from perun_like.monitoring.region import divert
from perun_like.sampling.handlers import pass_on
from perun_like.sampling.marks import RAISED, Marks, MarksFile, prepare
from perun_like.sampling.spawn import RUN_VARIABLE

_USAGE_EVERY_NS = 1_000_000  # asking takes 2 us: calls that follow each other faster don't

_START, _STOP, _CPU_START, _CPU_STOP, _PEAK_STOP = 2, 3, 4, 5, 7  # words of a round's row


class OwnProcess:
    """While it is open, regions of this process and of its children are marked for a measurement.

    Attributes:
        marks: Where; None if there is no room for them: then nothing is measured.
        problem: Why there is no room for marks; None while there is.
    """

    def __init__(self, measurement: Measurement, comm: Comm) -> None:
        self.marks: Marks | None = None
        self._measurement, self._comm = measurement, comm
        self._start_ns = Clock.now_ns()
        self._last_begin_ns = 0
        self.problem: str | None = None if measurement.marks else "in /dev/shm or among temporary files"
        if measurement.marks is not None:
            prepare()
            try:
                self.marks = Marks(measurement.marks)
            except OSError as error:
                pass_on(error)
                self.problem = error.strerror
        self._before = divert(self.marks)
        self._variable = os.environ.get(RUN_VARIABLE)
        if measurement.marks is not None:
            os.environ[RUN_VARIABLE] = measurement.marks  # for processes that are started meanwhile
        measurement.tell("watch", process=self._facts())

    def close(self) -> dict[str, Any]:
        """Back to the surroundings there were; returns the facts about this process as the recording keeps them."""
        if self._variable is None:
            os.environ.pop(RUN_VARIABLE, None)
        else:
            os.environ[RUN_VARIABLE] = self._variable
        divert(self._before)
        if self.marks is not None:
            self.marks.flush()
        facts = {**self._facts(), "stop_ns": Clock.now_ns()}
        self._measurement.tell("watch", process=facts)
        return facts

    def _facts(self) -> dict[str, Any]:
        return {"rank": self._comm.rank, "pid": os.getpid(), "start_ns": self._start_ns, "in_place": True}

    def begin(self, name: str, first: int | None = None, now_ns: int = 0) -> Round | None:
        """Begin a round, or its next interval; None if there is no room for its mark.

        Raises:
            OSError: there is no room for any.
        """
        if self.marks is None:
            return None
        now_ns = now_ns or Clock.now_ns()
        cpu_us, peak_kib = _usage() if now_ns - self._last_begin_ns > _USAGE_EVERY_NS else (0, 0)
        self._last_begin_ns = now_ns
        row = self.marks.begin_round(name, first, cpu_us, peak_kib)
        return None if row is None else Round(*row, Clock.now_ns())


class Round:
    """An open interval of a round.

    Attributes:
        first: The row that began the round.
        start_ns: When the interval began.
    """

    __slots__ = ("_at", "_file", "first", "start_ns")

    def __init__(self, file: MarksFile, at: int, start_ns: int) -> None:
        words, self._file, self._at = file.words, file, at
        self.first: int = words[at + 1]
        self.start_ns = words[at + _START] = start_ns

    def end(self, raised: bool) -> int:
        """End it; returns when."""
        words, at = self._file.words, self._at
        stop_ns: int = Clock.now_ns()
        words[at + _STOP] = stop_ns
        if raised:
            words[at] |= RAISED
        if words[at + _CPU_START]:
            words[at + _CPU_STOP], words[at + _PEAK_STOP] = _usage()
        return stop_ns


def _usage() -> tuple[int, int]:
    """CPU time of this process and of children it waited for, in us, and the peak of its resident set, in KiB."""
    own, children = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return max(int(cpu_s * 1e6), 1), own.ru_maxrss
