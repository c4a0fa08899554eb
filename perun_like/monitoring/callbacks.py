"""Functions that are called with results: after a run with its tree, and while it goes on with the newest values.

They are called in the process that measures a function or conducts a monitor, never in the sampler. A program that
``perun-like profile`` watches from outside has ended when its result is there: in it nothing is ever called back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from perun_like.sensing.contract import COUNTER

if TYPE_CHECKING:
    from perun_like.model.node import DataNode

NS_PER_S = 1_000_000_000


class Reading(NamedTuple):
    """The newest value of a sensor.

    Attributes:
        value: A gauge as it was read; what a counter has counted since the run's start; None where it couldn't be read.
        unit: Of the value: ``J``, ``W``, ``B``, ``s``, …
        rate: Of a counter, per second since the values told before (``J`` per second is watts); None if unknown.
        t_ns: When it was read, CLOCK_MONOTONIC.
    """

    value: float | None
    unit: str
    rate: float | None
    t_ns: int


After = TypeVar("After", bound="Callable[[DataNode], object]")
Newest = TypeVar("Newest", bound="Callable[[dict[str, Reading]], object]")

_after: list[Callable[[DataNode], object]] = []
_live: list[Callable[[dict[str, Reading]], object]] = []


def register_callback(function: After) -> After:
    """Have a function called after each run of this process, with the result's tree; usable as a decorator."""
    _after.append(function)
    return function


def register_live_callback(function: Newest) -> Newest:
    """Have a function called about once a second while something is measured, with the newest values by sensor id.

    It runs in a thread of its own in this process, and has to be registered before the measurement begins. Usable as a
    decorator.
    """
    _live.append(function)
    return function


def unregister_callback(function: Callable[..., object]) -> None:
    """Don't call a function any more; one that isn't registered is passed over."""
    for registered in (_after, _live):
        if function in registered:
            registered.remove(function)


def after_run(tree: DataNode) -> None:
    """Call those who wait for a result.

    Raises:
        BaseException: what one of them ends the program with, once all have been called.
    """
    ends = [end for function in tuple(_after) if (end := _call(function, tree)) is not None]
    if ends:
        raise ends[0]


def awaited() -> bool:
    """Whether anybody waits for a result."""
    return bool(_after)


def _call(function: Callable[[Any], object], argument: object) -> BaseException | None:
    """A stranger's code: what it raises is shown, and changes nothing; what it ends the program with is returned."""
    try:
        function(argument)
    except Exception as error:  # noqa: BLE001
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException as end:  # noqa: BLE001 - SystemExit or an interrupt: others have to be called before
        return end
    return None


class Live:
    """What makes readings of raw values, for those who wait for them."""

    @classmethod
    def wanted(cls) -> Live | None:
        """One if anybody waits."""
        return cls() if _live else None

    def __init__(self) -> None:
        self._sensors: Sequence[Mapping[str, Any]] = ()
        self._counted: dict[str, tuple[int, int, int]] = {}  # raw, counted, t_ns

    def taker(self, sensors: Sequence[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], bool]:
        """A function that takes the sampler's reports of these sensors' values, and leaves all others."""
        self._sensors = sensors
        return self._take

    def _take(self, message: Mapping[str, Any]) -> bool:
        if message["type"] != "values":
            return False
        raw = [value for values in message["raw"] for value in values]
        times = [t for t, values in zip(message["t_ns"], message["raw"], strict=True) for _ in values]
        if len(raw) == len(self._sensors):  # else a backend has not been read yet
            readings = {s["id"]: self._reading(s, *at) for s, *at in zip(self._sensors, raw, times, strict=True)}
            for function in tuple(_live):
                _call(function, readings)
        return True

    def _reading(self, sensor: Mapping[str, Any], raw: int | None, t_ns: int) -> Reading:
        scale, unit = sensor["scale"], sensor["unit"]
        if raw is None or sensor["kind"] != COUNTER:
            return Reading(None if raw is None else raw * scale, unit, None, t_ns)
        before, counted, then_ns = self._counted.get(sensor["id"], (raw, 0, t_ns))
        step = raw - before
        if step < 0:
            step = step % sensor["modulus"] if sensor["modulus"] else 0
        self._counted[sensor["id"]] = raw, counted + step, t_ns
        rate = step * scale * NS_PER_S / (t_ns - then_ns) if t_ns > then_ns else None
        return Reading((counted + step) * scale, unit, rate, t_ns)
