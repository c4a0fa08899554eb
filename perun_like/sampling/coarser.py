"""The process that rewrites a part coarser, beside it: :mod:`perun_like.sampling.thinning` says which samples stay.

It is of the lowest priority, so that neither the application nor the sampler waits for it, and reads what the sampler
has written until it was started. The sampler puts the new file into the old one's place when this has ended well.
"""

from __future__ import annotations

import contextlib
import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from perun_like.sampling import marks
from perun_like.sampling.collecting import collect
from perun_like.sampling.ranks import ranks_in
from perun_like.sampling.spool import HEADER, NOTE, ROWS, STREAM, Part, row_words
from perun_like.sampling.spool_reader import Frame, frames, json_of
from perun_like.sampling.thinning import Thinning, furthest_ns
from perun_like.sensing.contract import Sensor

_LOWEST = 19
_WORD_BYTES = 8
_ROWS_OF_AN_EDGE = 5


class _Plan(NamedTuple):
    """How far apart rows are to be left, and around which moments all of them stay."""

    apart_ns: int
    edges_ns: Sequence[int]


class _Rows(NamedTuple):
    """A frame of rows, as far as its size after a thinning depends on it."""

    stream: int
    bytes: int
    row_bytes: int
    first_ns: int
    last_ns: int

    def left_b(self, apart_ns: int, edges_ns: Sequence[int]) -> int:
        """About how many bytes are left of it when rows are so far apart, but for those around edges."""
        edges = bisect_right(edges_ns, self.last_ns) - bisect_left(edges_ns, self.first_ns)
        rows = (self.last_ns - self.first_ns) // max(apart_ns, 1) + 2 + _ROWS_OF_AN_EDGE * edges
        return min(self.bytes, rows * self.row_bytes)


class _Survey:
    """What there is in a part, before anything is left out.

    Attributes:
        sensors: Of each stream, by its number.
        apart_ns: How far apart the older rows were left the last time; 0 if there was none.
        edges_ns: When processes, regions and rounds began and ended, ascending.
        few_edges_ns: The same of processes alone.
    """

    def __init__(self, source: str, until_b: int) -> None:
        self.sensors: dict[int, tuple[Sensor, ...]] = {}
        self.apart_ns = 0
        self._marked_ns = array("q")
        self._of_processes_ns = array("q")
        self._rows: list[_Rows] = []
        self._periods_ns: list[int] = []
        self._others_b = 0
        for frame in frames(source, until_b):
            self._look(frame)
        self.few_edges_ns = array("q", sorted(self._of_processes_ns))
        self.edges_ns = array("q", sorted(self._of_processes_ns + self._marked_ns))

    def _look(self, frame: Frame) -> None:
        if frame.kind == ROWS and frame.stream in self.sensors:
            self._rows.append(_rows(frame, row_words(len(self.sensors[frame.stream]))))
            return
        self._others_b += len(frame.payload)
        if frame.kind in (HEADER, STREAM, NOTE):
            content = json_of(frame)
            if frame.kind == STREAM:
                self.sensors[frame.stream] = tuple(Sensor(**facts) for facts in content["sensors"])
                self._periods_ns.append(content["period_ns"])
            elif frame.kind == HEADER:
                self._marked_ns.extend(_marked(content.get("marks")))
            self.apart_ns = max(self.apart_ns, content.get("apart_ns", 0))
            process = content.get("process", {})
            self._of_processes_ns.extend(process[key] for key in ("start_ns", "stop_ns") if key in process)

    def plan(self, goal_b: int) -> _Plan:
        """How the part can have so many bytes: rows at least twice as far apart as they are, and further if need be.

        Where no distance is enough, rows around edges of regions don't stay either; where that isn't enough, as little
        stays as may be.
        """
        furthest = {stream: furthest_ns(sensors) for stream, sensors in self.sensors.items()}
        for edges_ns in (self.edges_ns, self.few_edges_ns):
            apart_ns = 2 * max(self.apart_ns, min(self._periods_ns, default=1))
            while (left_b := self._left_b(apart_ns, edges_ns, furthest)) > goal_b and apart_ns < max(
                furthest.values(), default=0
            ):
                apart_ns *= 2
            if left_b <= goal_b:
                break
        return _Plan(apart_ns, edges_ns)

    def _left_b(self, apart_ns: int, edges_ns: Sequence[int], furthest: Mapping[int, int]) -> int:
        left = (rows.left_b(min(apart_ns, furthest[rows.stream]), edges_ns) for rows in self._rows)
        return self._others_b + sum(left)


def _rows(frame: Frame, words: int) -> _Rows:
    size = words * _WORD_BYTES
    count = len(frame.payload) // size
    first, last = (struct.unpack_from("<q", frame.payload, row * size)[0] for row in (0, max(count - 1, 0)))
    return _Rows(frame.stream, len(frame.payload), size, first, last)


def _marked(directory: str | None) -> Iterator[int]:
    """When calls of regions and rounds began and ended, as far as processes have marked it."""
    if directory is None:
        return
    with contextlib.suppress(OSError):
        for rank in ranks_in(directory):
            for process in collect(os.path.join(directory, str(rank)), rank):
                for rows, words in ((process.calls, marks.ROW_WORDS), (process.rounds, marks.ROUND_WORDS)):
                    table = memoryview(rows).cast("q")
                    yield from (t_ns for column in (2, 3) for t_ns in table[column::words] if t_ns > 0)


def rewrite(source: str, target: str, until_b: int, goal_b: int, wanted: Callable[[], bool] = lambda: True) -> bool:
    """Write a part again with fewer of its rows.

    Args:
        source: The part.
        target: The new file; it must not exist.
        until_b: How much of the part counts.
        goal_b: What the new file is to have at most, if that can be had.
        wanted: Whether anybody still waits for it.

    Returns:
        Whether it is complete.

    Raises:
        OSError: it can't be written.
        FileError: the part isn't one.
    """
    survey = _Survey(source, until_b)
    plan = survey.plan(goal_b)
    part = Part(target)
    for frame in _thinned(frames(source, until_b), survey.sensors, plan):
        if not wanted():
            return False
        part.write(frame.kind, frame.payload, frame.stream, frame.sequence)
    part.write_json(NOTE, {"apart_ns": plan.apart_ns})
    part.sync()
    part.close()
    return True


def _thinned(whole: Iterable[Frame], sensors: Mapping[int, Sequence[Sensor]], plan: _Plan) -> Iterator[Frame]:
    streams = {number: Thinning(those, plan.apart_ns, plan.edges_ns) for number, those in sensors.items()}
    for frame in whole:
        if frame.kind == ROWS and frame.stream in streams:
            yield frame._replace(payload=streams[frame.stream].thinned(frame.payload))
        elif frame.kind != NOTE or "apart_ns" not in json_of(frame):
            yield frame


def _be_last() -> None:
    """Run when nobody else wants to."""
    os.nice(_LOWEST)
    # Where the scheduler shares CPUs among sessions, niceness counts only within one (sched(7), autogroups): ours is to
    # be another one than the sampler's.
    with contextlib.suppress(OSError):
        os.setsid()
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(_LOWEST))


def main(arguments: list[str]) -> None:
    """Entry point of the process.

    Args:
        arguments: The sampler's pid, and what :func:`rewrite` takes. When the sampler is gone nothing is left behind.
    """
    _be_last()
    sampler, source, target, until_b, goal_b = arguments
    if not rewrite(source, target, int(until_b), int(goal_b), lambda: os.getppid() == int(sampler)):
        os.unlink(target)
