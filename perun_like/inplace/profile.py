"""Measuring a function or a block in place, from within the program that runs it.

::

    from perun_like import profile

    @profile                       # or @profile(name=…, period="10ms", output="results")
    def train(): ...

    with profile("load") as load:
        ...
    print(load.energy_j)

All calls of one name are rounds of one run, whose file is written when the process ends. A profiled function that is
called by another one, or in a program that is watched as a whole, is a region there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from perun_like.clock import Clock
from perun_like.config import OPTIONS, resolve
from perun_like.errors import ConfigError, InputError
from perun_like.inplace.stderr import complain, reason_of
from perun_like.model.node import METRICS
from perun_like.monitoring.application import name_of_function, place_of_function
from perun_like.monitoring.metadata import check_place
from perun_like.monitoring.region import RegionCall
from perun_like.monitoring.wrapping import check_function, kind_of, wrap

if TYPE_CHECKING:
    from perun_like.inplace.session import Session
    from perun_like.model.node import DataNode, Metric
    from perun_like.monitoring.own_process import Round

F = TypeVar("F", bound=Callable[..., Any])

# Options of the command line that have no meaning for a function.
_OF_PROGRAMS = ("name", "python", "json", "rounds", "warmup", "run_id")
_NO_SAMPLER = "the sampling process has ended"
_NOT_HERE = "it is measured as a part of a whole: see the report of that"
_open: ContextVar[tuple[Call, ...]] = ContextVar("perun_like_open_calls", default=())


class Call:
    """One call of a profiled function, or pass through a block.

    Every figure of its result is an attribute as well: ``energy_j``, ``power_w``, ``runtime_s``, ``co2e_kg``, …;
    None where it is missing. Figures are there once the call has ended, and until the process ends.

    Attributes:
        profile: What it is a call of.
        start_ns, stop_ns: CLOCK_MONOTONIC; 0 before it has begun or ended.
    """

    # Most calls need few of these: what isn't set yet is read here.
    start_ns = stop_ns = 0
    _session: Session | None = None
    _first: int | None = None
    _round: Round | None = None
    _region: RegionCall | None = None
    _result: DataNode | None = None
    _problem: str | None = None

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @property
    def name(self) -> str:
        """What it is filed under."""
        return self.profile.name

    def enter(self) -> None:
        """Begin, or go on after a pause. Nothing of ours is ever raised here."""
        outer = _open.get()
        if outer and outer[-1].stop_ns:  # a task goes on after the call that it was made in
            outer = tuple(call for call in outer if not call.stop_ns)
        try:
            self._begin(outer)
        except Exception as error:  # noqa: BLE001 - the edge to somebody's program, which nothing of ours may break
            self._problem = self.profile.give_up(error)
        _open.set((*outer, self))  # last: an interrupt while the sampler starts leaves nothing open

    def _begin(self, outer: tuple[Call, ...]) -> None:
        if self.start_ns:
            self.stop_ns, self._round = 0, None
        else:
            self._session = outer[-1]._session if outer else self.profile.session()  # noqa: SLF001
            if outer or self._session is None:
                self._region = RegionCall(self.profile.name)
                self.start_ns = Clock.now_ns()
        if self._region is not None:
            self._region.enter()
        elif self._session is not None:
            self._resume(self._session)

    def _resume(self, session: Session) -> None:
        row = self._round = session.begin(self.profile.name, self.profile.place, self._first)
        if self._first is None:
            self._first, self.start_ns = (row.first, row.start_ns) if row is not None else (None, Clock.now_ns())

    def leave(self, raised: bool) -> None:
        """End, or pause."""
        if self._round is not None:
            self.stop_ns = self._round.end(raised)
        else:
            self.stop_ns = Clock.now_ns()
            if self._region is not None:
                self._region.leave(raised)
        outer = _open.get()
        _open.set(outer[:-1] if outer and outer[-1] is self else tuple(call for call in outer if call is not self))

    @property
    def result(self) -> DataNode | None:
        """What it used: a RUN node; None where that isn't known here, as in a program that is watched from outside."""
        if self._result is None and self._session is not None and self.stop_ns and self._problem is None:
            try:
                self._result = self._session.result_of(self.name, self.start_ns, self.stop_ns)
            except Exception as error:  # noqa: BLE001 - a figure that can't be had is missing; it raises nothing
                self._problem = reason_of(error)
        return self._result

    @property
    def problem(self) -> str | None:
        """Why there is no result of this call; None while nothing is wrong."""
        if self.result is not None or not self.stop_ns:
            return None
        if self._session is None:
            return self._problem or self.profile.problem or _NOT_HERE
        return self._problem or self._session.problem or _NO_SAMPLER

    @property
    def metrics(self) -> dict[str, Metric]:
        """Its figures with bounds, by name; empty where there is no result."""
        return {} if self.result is None else self.result.metrics

    def __getattr__(self, name: str) -> float | None:
        """A figure of the result."""
        if name not in METRICS:
            figures = "" if name.startswith("_") else f"; its figures are {', '.join(METRICS)}"
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{figures}")
        metric = self.metrics.get(name)
        return None if metric is None else metric.value

    def __repr__(self) -> str:
        """Its energy and time at a glance."""
        if not self.stop_ns:
            return f"<profile {self.name}: has not ended>"
        if self.result is None:
            return f"<profile {self.name}: no result: {self.problem}>"
        from perun_like.report.summary import glance

        return f"<profile {self.name}: {glance(self.result)}>"


class Profile:
    """Measures what it decorates, or a block.

    Attributes:
        name: What its calls are filed under.
        place: Where the function stands, for people; None for a block.
        problem: Why its calls are not measured; None while nothing is wrong.
    """

    def __init__(
        self,
        name: str | None,
        options: dict[str, object],
        rounds: int = 1,
        warmup: int = 0,
        place: str | None = None,
    ) -> None:
        self.name = name or "block"
        self.place = place
        self._named = name is not None
        self._options, self._rounds, self._warmup = options, rounds, warmup
        self._session: Session | None = None
        self._entered: list[Call] = []
        self.problem: str | None = None

    def session(self) -> Session | None:
        """Where calls are measured; None where they are a part of what is measured from outside."""
        if self._session is not None and self._session.open:
            return self._session
        if self.problem is not None:
            return None
        from perun_like.inplace.session import sessions  # 20 ms that a program may never need

        # Files and environment are those of the first call with these options: reading them takes 0.1 ms.
        options = tuple(sorted(self._options.items()))
        self._session = sessions.known(options)
        if self._session is None:
            config = resolve(_directory(), os.environ, self._options)
            check_place(config.country)
            self._session = sessions.of(config, options)
        return self._session

    def give_up(self, error: Exception) -> str:
        """Go on unmeasured, and say so once: a wrong file or variable mustn't change what the program does."""
        if self.problem is None:
            self.problem = "it could not be measured"
            with suppress(Exception):  # at Python's very end there may be nothing left to say it with
                self.problem = f"nothing is measured: {reason_of(error)}"
                complain(self.problem)
        return self.problem

    def __enter__(self) -> Call:
        """Begin to measure."""
        if (self._rounds, self._warmup) != (1, 0):
            raise TypeError("a with block can't be repeated: rounds and warmup are for functions")
        call = Call(self)
        self._entered.append(call)
        try:
            call.enter()
        except BaseException:  # an interrupt while it begins: there will be no end
            self._entered.remove(call)
            call.leave(raised=True)
            raise
        return call

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, however the block ends."""
        mine = [call for call in _open.get() if call.profile is self]
        call = (mine or self._entered)[-1]  # a fixture's end may run in another context than its beginning
        self._entered.remove(call)
        call.leave(kind is not None)

    def __call__(self, function: F) -> F:
        """The function, each call of which is measured."""
        check_function("profile", function)
        name = self.name if self._named else name_of_function(function)
        profile = Profile(name, self._options, place=place_of_function(function))
        wrapped = wrap(function, lambda: Call(profile))
        return wrapped if (self._rounds, self._warmup) == (1, 0) else self._repeated(function, wrapped)

    def _repeated(self, function: F, wrapped: F) -> F:
        kind = kind_of(function)
        if kind == "coroutine":
            return _repeat_coroutine(function, wrapped, self._rounds, self._warmup)
        if kind != "function":
            raise TypeError(f"a {kind} can't be repeated: rounds and warmup are for functions that return once")
        return _repeat(function, wrapped, self._rounds, self._warmup)


@overload
def profile(name: F) -> F: ...
@overload
def profile(name: str | None = None, *, rounds: int = 1, warmup: int = 0, **options: object) -> Profile: ...
def profile(name: Any = None, *, rounds: int = 1, warmup: int = 0, **options: object) -> Any:
    """Measure a function or a block in place.

    Args:
        name: What its calls are filed under; without one a function's qualified name is taken.
        rounds: How often each call runs the function; the last result is returned.
        warmup: How often it runs the function before, without recording.
        options: Settings as the command line has them, such as ``period="10ms"``, ``output="results"`` or
            ``country="DE"``.

    Raises:
        ConfigError: there is no such option, or its value is not allowed.
    """
    given = _checked(options) if options else {}
    if (rounds, warmup) != (1, 0):
        rounds, warmup = _number("rounds", rounds), _number("warmup", warmup)
    if name is None or isinstance(name, str):
        return Profile(name, given, rounds, warmup)
    if isinstance(name, classmethod):
        check_function("profile", cast("object", name))
    if not callable(name):
        raise TypeError(f'profile takes a name, as in profile("load"), or decorates a function; it was given {name!r}')
    return Profile(None, given, rounds, warmup)(name)


def _checked(options: dict[str, object]) -> dict[str, object]:
    """Options by the names of their settings, as the command line would give them."""
    known = {option.key.removeprefix("no-").replace("-", "_"): option for option in OPTIONS}
    allowed = {key: option for key, option in known.items() if option.field not in _OF_PROGRAMS}
    for key in options:
        if key not in allowed:
            raise ConfigError(f"profile has no option {key!r}: allowed are name, rounds, warmup, {', '.join(allowed)}")
    given = {allowed[key].field: _as_text(value) for key, value in options.items() if value is not None}
    try:  # so that a wrong value is told where it stands, not at the first call
        check_place(resolve("/", {}, given).country)
    except InputError as error:
        raise ConfigError(f"profile(…): {str(error).removeprefix('--').removeprefix('no-')}") from None
    return given


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"  # the current directory has been deleted


def _as_text(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return tuple(str(each) for each in cast("list[object]", value))
    return value if isinstance(value, bool) else str(value)


def _number(option: str, value: int) -> int:
    """How often to run a function, checked as the command line's option is."""
    try:
        return int(getattr(resolve("/", {}, {option: str(value)}), option))
    except ConfigError as error:
        raise ConfigError(f"profile(…): {str(error).removeprefix('--')}") from None


def _repeat(function: F, measured: F, rounds: int, warmup: int) -> F:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for _ in range(warmup):
            function(*args, **kwargs)
        result = None
        for _ in range(rounds):
            result = measured(*args, **kwargs)
        return result

    return cast(F, wrapper)


def _repeat_coroutine(function: F, measured: F, rounds: int, warmup: int) -> F:
    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        for _ in range(warmup):
            await function(*args, **kwargs)
        result = None
        for _ in range(rounds):
            result = await measured(*args, **kwargs)
        return result

    return cast(F, wrapper)
