"""Regions: naming a part of a program so that its energy is told apart.

::

    from perun_like import region

    @region                       # or @region("name")
    def solve(): ...

    with region("assemble"):
        ...

In a program that isn't profiled they do next to nothing. A region spans a call from its beginning to its end; for a
coroutine this includes what it awaits, a generator's spans only the steps that it executes.
"""

from __future__ import annotations

import os
from _thread import get_ident
from collections.abc import Callable, Mapping
from functools import wraps
from time import monotonic_ns
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from perun_like.monitoring.marking import ITS_OWN_LIMITS, End, begin
from perun_like.monitoring.marking import process as _process
from perun_like.monitoring.wrapping import check_function, kind_of, wrap
from perun_like.sampling.handlers import is_of_handler
from perun_like.sampling.marks import FILE_ROWS, ROW_WORDS, Marks

F = TypeVar("F", bound=Callable[..., Any])
_UNMARKED = 0  # no thread's id: where there are such calls, some are open
_MOST_KNOWN = 1 << 10
_NAMELESS = "(no name)"
_known: dict[str, Region] = {}  # by name: to make an object takes a quarter of what a call of a region takes
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_known.clear)


class Region:
    """A named region, entered with ``with`` or wrapped around a function.

    An object may be shared by threads and entered again within itself. Of tasks of one thread that share one, each ends
    what was entered last: as many are open at any time as if each had ended its own, which is what energy and time are
    made of, but the times of single calls are others.

    ``region("solve")`` hands out the same object again unless it is open. So what is entered where it is named, as in
    ``with region("solve")``, isn't shared by tasks; one that is kept for later may be.

    Attributes:
        open_calls: Where the innermost open call of each thread ends, by the thread's id; None if it is only counted.
    """

    __slots__ = ("_name", "_outer", "_unmarked", "open_calls")

    def __init__(self, name: str) -> None:
        self._name = name
        self.open_calls: dict[int, End | None] = {}
        self._outer: dict[int, list[End | None]] | None = None
        self._unmarked = 0  # open calls whose beginning there was no room to mark

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    def __enter__(self) -> Region:  # noqa: PYI034 - Self is of Python 3.11
        """Mark its beginning."""
        ends, marks = self.open_calls, _process.marks
        if marks is None and _process.known and not ends:
            return self
        try:  # what ``Marks.begin`` does where there is room, as there nearly always is: without the time of a call
            me = get_ident()
            if _process.unended:
                _process.end_late(me)
            if marks is not None and (number := marks.numbers.get(self._name)) is not None:
                file = marks.calls.newest
                row = file.draw()
                if row < FILE_ROWS:
                    words, at = file.words, row * ROW_WORDS
                    words[at] = number << 1
                    words[at + 1] = me
                    if ends and me in ends:
                        self._reenter(me)
                    ends[me] = file, at + 3
                    words[at + 2] = monotonic_ns()
                    return self
            end = begin(self._name)
            self._enter_slowly(me, end)
        except ITS_OWN_LIMITS:
            self._unmarked += 1  # no call: there may be no room for one
            ends[_UNMARKED] = None
        except BaseException as error:  # the edge to somebody's program, which goes on without marks
            if not isinstance(error, Exception) or is_of_handler(error):
                self._end_cut_short(locals())
                raise
            _process.marks = None
            self._unmarked += 1
            ends[_UNMARKED] = None
        return self

    def _enter_slowly(self, me: int, end: End | None) -> None:
        if end is not None or self.open_calls:
            if me in self.open_calls:
                self._reenter(me)
            self.open_calls[me] = end

    def _reenter(self, me: int) -> None:
        if self._outer is None:
            self._outer = {}
        self._outer.setdefault(me, []).append(self.open_calls[me])

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Mark its end, however the block ends."""
        ends = self.open_calls
        if ends and self._unmarked:
            self._unmarked -= 1
            try:
                if not self._unmarked:
                    del ends[_UNMARKED]
            except KeyError:  # another thread has been faster
                pass
        elif ends:
            try:
                me = get_ident()
                if _process.unended:
                    _process.end_late(me)
                end = ends.get(me)
                if end is not None:
                    end[0].words[end[1]] = monotonic_ns()
                if self._outer and (outer := self._outer.get(me)):
                    ends[me] = outer.pop()
                else:
                    ends.pop(me, None)
            except ITS_OWN_LIMITS:
                _process.unended = [*_process.unended, self]
            except BaseException:
                self._end_cut_short({"end": ends.get(get_ident()), **locals()})
                raise

    def _end_cut_short(self, known: Mapping[str, Any]) -> None:
        """End a call that a handler of a signal has kept from being entered or left, by raising: nobody else will.

        Args:
            known: How far its method has come: its local variables.
        """
        end = known["end"] if "end" in known else (known["file"], known["at"] + 3) if "at" in known else None
        if end is not None and self.open_calls.get(get_ident()) == end:
            self.end_late(get_ident())
        elif end is not None and not end[0].words[end[1]]:
            end[0].words[end[1]] = monotonic_ns()

    def end_late(self, me: int) -> None:
        """Mark the end of a thread's innermost call, where there was no room for it at its time."""
        if me in self.open_calls:
            end = self.open_calls.pop(me)
            if self._outer and (outer := self._outer.get(me)):
                self.open_calls[me] = outer.pop()
            if end is not None:
                end[0].words[end[1]] = monotonic_ns()

    def __call__(self, function: F) -> F:
        """The function, each call of which is a call of the region."""
        check_function("region", function)
        if kind_of(function) == "function":
            return _wrap_function(self._name, function)
        return wrap(function, lambda: RegionCall(self._name))


@overload
def region(name: str) -> Region: ...
@overload
def region(name: F) -> F: ...
def region(name: Any) -> Any:
    """Name a part of the program, as a decorator with or without a name, or in a ``with`` statement.

    Without a name a function's qualified name is taken.
    """
    try:
        known = _known[name]
    except (KeyError, TypeError):  # it is new, or no name
        return _new_region(name)
    try:
        return Region(known.name) if known.open_calls else known
    except ITS_OWN_LIMITS:
        return known


def _new_region(name: Any) -> Any:
    if isinstance(name, str):
        if len(_known) >= _MOST_KNOWN:
            _known.clear()  # soon those that are used have come again
        _known[name] = made = Region(name or _NAMELESS)
        return made
    if isinstance(name, classmethod):
        check_function("region", cast("object", name))
    if not callable(name):
        raise TypeError(f'region takes a name, as in region("solve"), or decorates a function; it was given {name!r}')
    return Region(getattr(name, "__qualname__", repr(name)))(name)


class RegionCall:
    """One call of a region, in as many steps as it takes."""

    __slots__ = ("_end", "_name", "_resumed")

    def __init__(self, name: str) -> None:
        self._name, self._resumed = name, 0
        self._end: End | None = None

    def enter(self) -> None:
        """Mark the beginning of a step."""
        self._end = None
        try:
            self._end = begin(self._name, self._resumed)
        except ITS_OWN_LIMITS:
            return
        self._resumed = 1

    def leave(self, raised: bool) -> None:  # noqa: ARG002 - a region ends however it ends
        """Mark its end."""
        try:
            if self._end is not None:
                self._end[0].words[self._end[1]] = monotonic_ns()
        except ITS_OWN_LIMITS:
            pass


def divert(marks: Marks | None) -> Marks | None:
    """Have the regions of this process marked elsewhere from now on; None: where its environment says, if it does.

    Returns:
        Where they were marked until now; None if that was where the environment said.
    """
    _known.clear()  # what was entered while nothing was marked must not end what is entered from now on
    before, _process.diverted = _process.diverted, marks
    _process.known, _process.marks = marks is not None, marks
    return before


def _wrap_function(name: str, function: F) -> F:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        end = begin(name)
        try:
            return function(*args, **kwargs)
        finally:
            if end is not None:
                end[0].words[end[1]] = monotonic_ns()

    return cast(F, wrapper)
