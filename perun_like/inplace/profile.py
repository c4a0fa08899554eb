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
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from perun_like.config import OPTIONS, check_powercap_root, resolve
from perun_like.errors import ConfigError, InputError
from perun_like.inplace.call import Call, innermost_of
from perun_like.inplace.stderr import complain, reason_of
from perun_like.monitoring.application import name_of_function, place_of_function
from perun_like.monitoring.metadata import check_place
from perun_like.monitoring.wrapping import check_function, kind_of, wrap

if TYPE_CHECKING:
    from perun_like.inplace.session import Session

F = TypeVar("F", bound=Callable[..., Any])

# Options of the command line that have no meaning for a function.
_OF_PROGRAMS = ("name", "python", "json", "rounds", "warmup", "run_id")


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

        if sessions.covered():
            return None
        # Files and environment are those of the first call with these options: reading them takes 0.1 ms.
        options = tuple(sorted(self._options.items()))
        self._session = sessions.known(options)
        if self._session is None:
            config = resolve(_directory(), os.environ, self._options)
            check_powercap_root(config)
            check_place(config.country)
            self._session = sessions.make(config, options)
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
        call = innermost_of(self) or self._entered[-1]  # a fixture's end may run in another context than its beginning
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
