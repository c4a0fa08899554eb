"""Counters without their wraps: how much was counted since the first read, and where that isn't known.

A counter of a :class:`~perun_like.model.recording.Stream` is a row of raw integers that start again at the
modulus. Reads that failed are passed over: the counter went on meanwhile. A step between two reads is *missing*,
and counts as 0, if it could have wrapped more than once (``ceiling x gap >= modulus``), if it is more than the
ceiling allows, or if the counter went back although it doesn't wrap: it was reset, or shows nonsense.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from perun_like.model.narrow import RawColumn, blocks
from perun_like.model.recording import Bools, Int64s, Stream
from perun_like.sensing.contract import COUNTER, Sensor
from perun_like.sensing.limits import most_counted, uncertainty

_LONG = 1 << 18  # reads


class Counter(NamedTuple):
    """One counter, unwrapped. All arrays are int64 and have one element a successful read.

    Attributes:
        t0_ns, t1_ns: Just before and just after each read. Counters that were read together share these arrays.
        units: Raw units counted since the first read, without those of missing steps.
        wraps: Wraps since the first read.
        gaps: Missing steps since the first read.
        missing: Whether the step from the read before is missing; False for the first.
        failed: Reads that failed or showed what the counter can't show.
    """

    sensor: Sensor
    t0_ns: Int64s
    t1_ns: Int64s
    units: Int64s
    wraps: Int64s
    gaps: Int64s
    missing: Bools
    failed: int

    @property
    def reads(self) -> int:
        """Successful reads."""
        return len(self.units)

    @property
    def uncertainty(self) -> float:
        """By how much the difference of two reads may be off, in the sensor's unit: one step, and rounding."""
        return uncertainty(self.sensor)


class Counters(Mapping[str, Counter]):
    """The counters of streams, unwrapped, by sensor id; gauges are left out.

    Long ones are unwrapped each time that they are asked for: all of a week's at once would take as much memory as all
    that was read.
    """

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._places = {
            sensor.id: (stream, row)
            for stream in streams
            for row, sensor in enumerate(stream.sensors)
            if sensor.kind == COUNTER
        }
        self._times: dict[tuple[int, bytes], tuple[Int64s, Int64s]] = {}
        self._short: dict[str, Counter] = {}

    def __getitem__(self, id_: str) -> Counter:
        """The counter of a sensor; those with the same reads share the arrays of their times."""
        if id_ in self._short:
            return self._short[id_]
        counter = self._counter(*self._places[id_])
        if counter.reads <= _LONG:
            self._short[id_] = counter
        return counter

    def __contains__(self, id_: object) -> bool:
        """Whether a sensor is one of them, without unwrapping it."""
        return id_ in self._places

    def __iter__(self) -> Iterator[str]:
        """The sensors' ids, in the order of the streams."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._places)

    def _counter(self, stream: Stream, row: int) -> Counter:
        sensor, raw = stream.sensors[row], stream.raw[row]
        possible = [np.empty(0, np.bool_), *(_possible(sensor, block) for block in blocks(raw))]
        usable = stream.valid[row] & np.concatenate(possible)
        if usable.all():  # no copy of a column that may be long
            return unwrap(sensor, stream.t0_ns, stream.t1_ns, raw)
        key = id(stream), usable.tobytes()
        if key not in self._times:  # they are looked up once for all
            self._times[key] = (stream.t0_ns[usable], stream.t1_ns[usable])
        return unwrap(sensor, *self._times[key], np.asarray(raw)[usable], failed=int(np.sum(~usable)))


def counters(stream: Stream) -> list[Counter]:
    """The counters of a stream, unwrapped, in the order of its sensors; gauges are left out."""
    return list(Counters([stream]).values())


def unwrap(sensor: Sensor, t0_ns: Int64s, t1_ns: Int64s, raw: RawColumn, failed: int = 0) -> Counter:
    """One counter from its successful reads.

    Args:
        sensor: Its modulus, resolution, tick, lag and ceiling are used.
        t0_ns: Time just before each read, int64, shape (reads,), ascending.
        t1_ns: Time just after each read, in the same way.
        raw: Raw values, int64, shape (reads,).
        failed: How many reads failed, kept for the record.
    """
    reads = len(raw)
    units, wrapped, missing = np.zeros(reads, np.int64), np.zeros(reads, np.bool_), np.zeros(reads, np.bool_)
    for rows, step in _steps(raw):
        span_ns = t1_ns[rows] - t0_ns[rows.start - 1 : rows.stop - 1]
        if not _are_plain(sensor, span_ns, step):
            wrapped[rows], missing[rows] = _unwrapped(sensor, span_ns, step)
        step[:1] += units[rows.start - 1]
        np.cumsum(step, out=units[rows])
    return Counter(sensor, t0_ns, t1_ns, units, _cumulated(wrapped), _cumulated(missing), missing, failed)


def _steps(raw: RawColumn) -> Iterator[tuple[slice, Int64s]]:
    """Differences of neighbouring values, a block at a time: of which values, and new arrays of how much."""
    last, first = np.empty(0, np.int64), 0
    for values in blocks(raw):
        step = np.diff(values, prepend=last)
        first += len(values)
        yield slice(first - len(step), first), step
        last = values[-1:]


def _are_plain(sensor: Sensor, span_ns: Int64s, step: Int64s) -> bool:
    """Whether steps are all possible without a wrap between the closest reads, and none is ambiguous between any."""
    if not len(step):
        return True
    if step.min() < 0:
        return False
    most = most_counted(sensor, np.array([span_ns.min(), span_ns.max()]))
    return most is None or bool(step.max() <= most[0] and (sensor.modulus is None or most[1] < sensor.modulus))


def _unwrapped(sensor: Sensor, span_ns: Int64s, step: Int64s) -> tuple[Bools, Bools]:
    """Undo wraps in steps, and make those nothing that are missing: which wrapped, and which these are."""
    wrapped = step < 0
    if sensor.modulus is not None:
        step[wrapped] += sensor.modulus
    missing = _say_nothing(sensor, span_ns, step)
    step[missing] = 0
    return wrapped & ~missing, missing


def _possible(sensor: Sensor, raw: Int64s) -> Bools:
    """Which values the counter can show at all."""
    if sensor.modulus is None:
        return np.asarray(raw >= 0)
    return np.asarray((raw >= 0) & (raw < sensor.modulus))


def _say_nothing(sensor: Sensor, span_ns: Int64s, step: Int64s) -> Bools:
    """Which steps are more than the ceiling allows, ambiguous, or backwards."""
    most = most_counted(sensor, span_ns)
    backwards = step < 0  # none of a counter that wraps
    if most is None:
        return backwards
    ambiguous = most >= sensor.modulus if sensor.modulus is not None else backwards
    return np.asarray(ambiguous | backwards | (step > most))


def _cumulated(which: Bools) -> Int64s:
    """How many up to each read; they take no room where there is nothing to count."""
    return np.cumsum(which, dtype=np.int64) if which.any() else np.broadcast_to(np.int64(0), len(which))
