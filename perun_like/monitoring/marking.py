"""Whether and where this process marks its regions, and what a mark may cost it: nothing that it would notice."""

from __future__ import annotations

import atexit
import os
from _thread import RLock
from typing import Protocol, cast

from perun_like.sampling.handlers import is_of_handler, pass_on
from perun_like.sampling.marks import Marks, MarksFile, Nowhere, prepare
from perun_like.sampling.spawn import RUN_VARIABLE

End = tuple[MarksFile, int]  # the file, and the place of its words
# What the program runs into, and may catch: then one call isn't marked, and later ones are.
ITS_OWN_LIMITS = (RecursionError, MemoryError)
_MOST_TRIES = 10  # to begin to write marks: each may leave something behind


class Unended(Protocol):
    """Something with a call that has ended and isn't marked so."""

    def end_late(self, me: int) -> None:
        """Mark the end of a thread's innermost call."""


class Process:
    """Whether and where this process writes marks. Unknown until the first region is entered, and after a fork.

    Attributes:
        known: Whether that is known.
        marks: Where; None if nowhere.
        diverted: Where it was told to, whatever its environment says; None if it wasn't.
        unended: Whose calls have ended where the stack was too full to mark it.
    """

    def __init__(self) -> None:
        self.known = False
        self.marks: Marks | None = None
        self.diverted: Marks | None = None
        self.unended: list[Unended] = []
        self._tries = 0
        self._lock, self._is_busy = RLock(), False

    def open(self) -> Marks | None:
        """Begin to write them, if its environment says where; None if they are written nowhere."""
        with self._lock:  # of threads that enter their first region at once, one opens and the others wait
            directory = os.environ.get(RUN_VARIABLE)
            if self._is_busy:  # a handler of a signal has come in between: it must not wait for itself
                return None
            if directory and not self.known:
                self._tries += 1
                try:
                    self._is_busy = True
                    marks = Marks(directory)
                    atexit.register(marks.flush)
                    self.marks = marks
                except ITS_OWN_LIMITS:
                    self.known = self._tries >= _MOST_TRIES
                    return None
                except Exception as error:
                    if is_of_handler(error):
                        self.known = self._tries >= _MOST_TRIES
                        raise
                    self.marks = None  # no room or not allowed: the program goes on without marks
                finally:
                    self._is_busy = False
            self.known = True
            return self.marks

    def end_late(self, me: int) -> None:
        """End them now: it is most likely this thread that has gone on."""
        while self.unended:
            self.unended[-1].end_late(me)
            del self.unended[-1:]

    def forget(self) -> None:
        """In a forked child: calls that the parent has open are the parent's to end."""
        for file in self.marks.files if self.marks is not None else ():
            file.words = cast(memoryview, Nowhere())
        if self.marks is not None:
            atexit.unregister(self.marks.flush)
        self.diverted, self.unended = None, []
        self.known, self.marks = False, None
        self._lock, self._is_busy = RLock(), False  # another thread may have held the old one


process = Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=process.forget)
if os.environ.get(RUN_VARIABLE):
    prepare()


def begin(name: str, resumed: int = 0) -> End | None:
    """Mark the beginning of a call; where its end goes, None if that isn't marked."""
    marks = process.marks
    try:
        if marks is None and (process.known or (marks := process.open()) is None):
            return None
        return marks.begin(name, resumed)
    except ITS_OWN_LIMITS:
        return None
    except Exception as error:  # noqa: BLE001 - the edge to somebody's program, which goes on without marks
        pass_on(error)
        process.marks = None
        return None
