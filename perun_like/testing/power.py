"""Power as a function of time whose energy is known exactly.

Times are integer nanoseconds since the origin of the simulated machine. Powers are held as whole microwatts,
so that energies are whole femtojoules (1 uW x 1 ns = 1 fJ) and no rounding builds up, however long it runs::

    >>> wave = SquareWave(lo_w=50, hi_w=150, period_ns=200_000_000)
    >>> wave.energy_j(0, 2_000_000_000)
    200.0
    >>> from_spec(wave.spec()) == wave
    True

Every function is defined for all times, also before the origin, and can be sent to another process as JSON.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import Any, ClassVar

from perun_like.errors import InputError

FJ_PER_J = 10**15
UW_PER_W = 10**6


class Power(ABC):
    """A power P(t) with its exact integral. Subclasses are frozen dataclasses."""

    kind: ClassVar[str]

    @abstractmethod
    def power_w(self, t_ns: int) -> float:
        """Power at an instant, in watts; at a step, the value after it."""

    @abstractmethod
    def total_fj(self, t_ns: int) -> int:
        """Integral of the power from time 0 to ``t_ns``, in femtojoules; negative before the origin.

        Exact to 1 fJ: only a slope has something to round.
        """

    def energy_j(self, a_ns: int, b_ns: int) -> float:
        """Energy between two instants, in joules: the double nearest to the exact value."""
        return (self.total_fj(b_ns) - self.total_fj(a_ns)) / FJ_PER_J

    def spec(self) -> dict[str, Any]:
        """This function as plain JSON values; :func:`from_spec` restores it."""
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]  # every subclass is a dataclass
        return {"kind": self.kind} | {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Constant(Power):
    """The same power at all times."""

    watts: float
    kind: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        _check_watts(self.watts)

    def power_w(self, t_ns: int) -> float:  # noqa: ARG002 - the same at all times
        """Power at an instant, in watts."""
        return self._uw / UW_PER_W

    def total_fj(self, t_ns: int) -> int:
        """Integral from time 0, in femtojoules."""
        return self._uw * t_ns

    @cached_property
    def _uw(self) -> int:
        return _microwatts(self.watts)


@dataclass(frozen=True)
class SquareWave(Power):
    """``hi_w`` for the first ``high_ns`` of each period, ``lo_w`` for the rest.

    Attributes:
        phase_ns: A period starts at this time.
        high_ns: Half the period if not given.
    """

    lo_w: float
    hi_w: float
    period_ns: int
    phase_ns: int = 0
    high_ns: int | None = None
    kind: ClassVar[str] = "square"

    def __post_init__(self) -> None:
        _check_watts(self.lo_w, self.hi_w)
        _check_positive(self.period_ns, "period_ns")
        if not 0 <= self._high_ns <= self.period_ns:
            raise InputError(f"high_ns={self.high_ns} is not within the period of {self.period_ns} ns")

    def power_w(self, t_ns: int) -> float:
        """Power at an instant, in watts."""
        high = (t_ns - self.phase_ns) % self.period_ns < self._high_ns
        return (self._hi_uw if high else self._lo_uw) / UW_PER_W

    def total_fj(self, t_ns: int) -> int:
        """Integral from time 0, in femtojoules."""
        return self._since_phase_fj(t_ns - self.phase_ns) - self._at_zero_fj

    def _since_phase_fj(self, t_ns: int) -> int:
        periods, rest_ns = divmod(t_ns, self.period_ns)
        high_ns = periods * self._high_ns + min(rest_ns, self._high_ns)
        return self._lo_uw * t_ns + (self._hi_uw - self._lo_uw) * high_ns

    @cached_property
    def _at_zero_fj(self) -> int:
        return self._since_phase_fj(-self.phase_ns)

    @cached_property
    def _high_ns(self) -> int:
        return self.period_ns // 2 if self.high_ns is None else self.high_ns

    @cached_property
    def _lo_uw(self) -> int:
        return _microwatts(self.lo_w)

    @cached_property
    def _hi_uw(self) -> int:
        return _microwatts(self.hi_w)


@dataclass(frozen=True)
class Ramp(Power):
    """Straight lines between given points; constant before the first and after the last.

    Two points with the same time make a step.

    Attributes:
        points: Pairs of time (ns) and power (W), in order of time.
    """

    points: Sequence[tuple[int, float]]
    kind: ClassVar[str] = "ramp"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple((int(t), w) for t, w in self.points))
        if not self.points:
            raise InputError("a ramp needs at least one point (time in ns, power in W)")
        _check_watts(*(w for _, w in self.points))
        if any(a > b for a, b in zip(self._times, self._times[1:], strict=False)):
            raise InputError("the points of a ramp must be in order of time")

    def power_w(self, t_ns: int) -> float:
        """Power at an instant, in watts."""
        i = bisect_right(self._times, t_ns) - 1
        if i < 0 or i + 1 == len(self._times):
            return self._uw[max(i, 0)] / UW_PER_W
        share = (t_ns - self._times[i]) / (self._times[i + 1] - self._times[i])
        return (self._uw[i] + (self._uw[i + 1] - self._uw[i]) * share) / UW_PER_W

    def total_fj(self, t_ns: int) -> int:
        """Integral from time 0, in femtojoules."""
        return self._since_first_fj(t_ns) - self._at_zero_fj

    def _since_first_fj(self, t_ns: int) -> int:
        i = max(bisect_right(self._times, t_ns) - 1, 0)
        dt = t_ns - self._times[i]
        level_fj = self._until_fj[i] + self._uw[i] * dt
        if dt <= 0 or i + 1 == len(self._times):
            return level_fj
        rise_uw, span_ns = self._uw[i + 1] - self._uw[i], self._times[i + 1] - self._times[i]
        return level_fj + rise_uw * dt * dt // (2 * span_ns)

    @cached_property
    def _times(self) -> list[int]:
        return [t for t, _ in self.points]

    @cached_property
    def _uw(self) -> list[int]:
        return [_microwatts(w) for _, w in self.points]

    @cached_property
    def _until_fj(self) -> list[int]:
        """Energy from the first point to each point."""
        t, p = self._times, self._uw
        return [0, *accumulate((p[i] + p[i + 1]) * (t[i + 1] - t[i]) // 2 for i in range(len(t) - 1))]

    @cached_property
    def _at_zero_fj(self) -> int:
        return self._since_first_fj(0)


@dataclass(frozen=True)
class RandomWalk(Power):
    """A new power every ``step_ns``, at most ``stride_w`` from the last one and within ``lo_w`` to ``hi_w``.

    After ``steps`` steps it begins again, so that any time can be asked for at once.

    Attributes:
        seed: The same seed gives the same walk with every Python.
    """

    lo_w: float
    hi_w: float
    step_ns: int
    seed: int
    stride_w: float = 20.0
    steps: int = 4096
    kind: ClassVar[str] = "random_walk"

    def __post_init__(self) -> None:
        _check_watts(self.lo_w, self.hi_w, self.stride_w)
        _check_positive(self.step_ns, "step_ns")
        _check_positive(self.steps, "steps")
        if self.lo_w > self.hi_w:
            raise InputError(f"lo_w={self.lo_w} is above hi_w={self.hi_w}")

    def power_w(self, t_ns: int) -> float:
        """Power at an instant, in watts."""
        return self._uw[t_ns // self.step_ns % self.steps] / UW_PER_W

    def total_fj(self, t_ns: int) -> int:
        """Integral from time 0, in femtojoules."""
        step, rest_ns = divmod(t_ns, self.step_ns)
        rounds, step = divmod(step, self.steps)
        until_uw = self._until_uw
        return (rounds * until_uw[-1] + until_uw[step]) * self.step_ns + self._uw[step] * rest_ns

    @cached_property
    def _uw(self) -> list[int]:
        random = Random(self.seed)  # noqa: S311 - must be repeatable, not secret
        watts = random.uniform(self.lo_w, self.hi_w)
        levels: list[int] = []
        for _ in range(self.steps):
            levels.append(_microwatts(watts))
            watts = min(max(watts + random.uniform(-self.stride_w, self.stride_w), self.lo_w), self.hi_w)
        return levels

    @cached_property
    def _until_uw(self) -> list[int]:
        """Sum of the powers before each step; the last one is that of a whole round."""
        return [0, *accumulate(self._uw)]


@dataclass(frozen=True)
class Sum(Power):
    """Several powers together: a package is the sum of its cores, its uncore and what nobody counts."""

    parts: Sequence[Power]
    kind: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))

    def power_w(self, t_ns: int) -> float:
        """Power at an instant, in watts."""
        return sum(part.power_w(t_ns) for part in self.parts)

    def total_fj(self, t_ns: int) -> int:
        """Integral from time 0, in femtojoules."""
        return sum([part.total_fj(t_ns) for part in self.parts])

    def spec(self) -> dict[str, Any]:
        """This function as plain JSON values."""
        return {"kind": self.kind, "parts": [part.spec() for part in self.parts]}


_KINDS: dict[str, type[Power]] = {c.kind: c for c in (Constant, SquareWave, Ramp, RandomWalk, Sum)}


def from_spec(spec: Mapping[str, Any]) -> Power:
    """The power function that a :meth:`Power.spec` describes.

    Raises:
        InputError: an unknown kind, or arguments that the kind doesn't have.
    """
    arguments = dict(spec)
    kind = arguments.pop("kind", None)
    if kind not in _KINDS:
        raise InputError(f"{kind!r} is not a kind of power: use one of {', '.join(_KINDS)}")
    if kind == Sum.kind:
        arguments["parts"] = [from_spec(part) for part in arguments["parts"]]
    try:
        return _KINDS[kind](**arguments)
    except TypeError as error:
        raise InputError(f"a power of kind {kind!r} can't be made of {arguments}: {error}") from error


def _microwatts(watts: float) -> int:
    return round(watts * UW_PER_W)


def _check_watts(*watts: float) -> None:
    for value in watts:
        if not 0 <= value < 1e9:
            raise InputError(f"{value} W is not a power of a machine: give watts from 0 to 1e9")


def _check_positive(value: int, name: str) -> None:
    if value <= 0:
        raise InputError(f"{name}={value} must be a positive whole number of nanoseconds or steps")
