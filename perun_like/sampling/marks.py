"""Marks: what a watched process writes, and what the sampler collects.

Each process of the application that enters a region writes files of its own into the run's host-local directory, whose
path it inherits in ``PERUN_RUN``:

* ``marks-<id>-<n>``: rows of four int64 words ``region thread start stop`` (CLOCK_MONOTONIC ns). A ``stop`` of 0 is a
  call still open. The lowest bit of ``region`` says that the row resumes an earlier call; the other bits are the number
  of the region's name. Rows never used have ``start`` 0.
* ``rounds-<id>-<n>``: the same for calls of functions that are profiled in place, with eight words ``name first start
  stop cpu_start cpu_stop peak_start peak_stop``: the two lowest bits of ``name`` say that the row resumes an earlier
  call, and that the call raised. ``first`` is the row that began the call. CPU times in us and memory in KiB, of the
  whole process, are 0 where they weren't asked.
* ``names-<id>``: lines of JSON: a list of a number and a string is a name and its number in the rows; an object says
  how many calls of which regions found no more room in the marks, a list of a string and a number likewise of rounds.

After the last row of a file stands how many calls found no more room by then: all of the process, whatever of them
could be written down by name.

The id begins with the pid and ends at random: a program that execs another, and processes of different pid namespaces,
have the same pid and marks of their own.

Rows are in memory that outlives the process: a segment for which there is a link (:mod:`perun_like.sampling.segments`),
or where that can't be had a mapped file. What is stored there is the kernel's from that moment: however the process
dies, its marks are there.
"""

from __future__ import annotations

import json
import mmap
import os
from _thread import RLock, get_ident
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic_ns
from typing import Any

from perun_like.sampling import systemv
from perun_like.sampling.handlers import pass_on

ROW_WORDS = 4
ROUND_WORDS = 8
RESUMED, RAISED = 1, 2  # bits of a row's first word
NAME_LOST = "(name lost)"  # of what was marked, if its name couldn't be written down, or was deleted or cut off
_UNNAMED = 1 << 40  # a number that no name has
FILE_ROWS = 1 << 14  # half a MiB of calls, one of rounds; and then one word
MAX_FILES = 64  # a million calls; then calls are only counted

WORD_BYTES = 8


def rows_bytes(row_words: int) -> int:
    """How many bytes of a file are rows."""
    return FILE_ROWS * row_words * WORD_BYTES


def file_bytes(row_words: int) -> int:
    """How large a file is."""
    return rows_bytes(row_words) + WORD_BYTES


def prepare() -> None:
    """Import what segments need, if that can be had: afterwards, making one imports nothing.

    To be called where the program expects an import, and not when it first marks something: a lock or a fork of its own
    may be under way then.
    """
    with suppress(Exception):  # the edge to somebody's program, which has finders of its own, say
        systemv.prepare(_segments)


def _segments() -> Callable[[str, int], memoryview]:
    from perun_like.sampling.segments import new_segment  # only a process that marks something needs it

    return new_segment


class MarksFile:
    """Memory for rows being written.

    Attributes:
        words: Its rows, and behind them how many calls found no more room.
        draw: Hands out row numbers, without end; those from ``FILE_ROWS`` on say that it is full.
        first: The number of its first row among those of all files.

    Raises:
        OSError: it can't be had here, or there is no room for it.
    """

    def __init__(self, path: str, row_words: int, number: int) -> None:
        self.words = _memory(f"{path}-{number}", file_bytes(row_words))
        self.draw = count().__next__
        self.first = number * FILE_ROWS


def _memory(path: str, size: int) -> memoryview:
    if systemv.is_prepared():
        try:
            return _segments()(path, size)
        except OSError as error:
            pass_on(error)
    return _mapped(path, size)


def _mapped(path: str, size: int) -> memoryview:
    # Read-only for all who open it by name: a program that truncates what it finds would end itself by SIGBUS. Root's
    # programs still can.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        # Allocated now, so that a full disk is an error here and never a SIGBUS in the application.
        os.posix_fallocate(fd, 0, size)
        return memoryview(mmap.mmap(fd, size)).cast("q")
    except BaseException:
        os.unlink(path)  # the name is free for another try
        raise
    finally:
        os.close(fd)


class Nowhere:
    """Takes the end of a call that isn't this process's."""

    def __getitem__(self, at: int) -> int:
        """Nothing was there."""
        return 0

    def __setitem__(self, at: int, value: int) -> None:
        """Forget it."""


class Rows:
    """Rows of one kind: files that follow each other as they fill up.

    A handler of a signal may come here while its own thread is at it. It must not wait for itself, so the lock lets it
    in; what it would do is then left undone.
    """

    def __init__(self, path: str, row_words: int) -> None:
        self._path, self._row_words = path, row_words
        self._lock, self._is_busy = RLock(), False
        self._next_file = 0
        self.newest = self._open_file()
        self.files = [self.newest]

    def grow(self, full: MarksFile) -> bool:
        """Have a file with room after one that is full; False if there is none to be had."""
        with self._lock:
            if self.newest is not full:
                return True  # another thread has been faster
            if self._next_file >= MAX_FILES or self._is_busy:
                return False
            try:
                self._is_busy = True
                self.newest = self._open_file()
                self.files.append(self.newest)
            except OSError as error:
                pass_on(error)
                self._next_file = MAX_FILES
            finally:
                self._is_busy = False
            return self.newest is not full

    def count_lost(self, calls: int) -> None:
        """Note that calls found no more room: where nothing can be opened any more this can still be done."""
        self.newest.words[-1] += calls

    def _open_file(self) -> MarksFile:
        number = self._next_file
        self._next_file += 1  # before: an interrupt may leave something under this name, which is then never free again
        return MarksFile(self._path, self._row_words, number)


class Marks:
    """The marks of one process. Handlers of signals are let in and turned away as in :class:`Rows`.

    Raises:
        OSError: nothing can be written in this directory.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.numbers: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._lost_rounds: dict[str, int] = {}
        self._lock, self._is_busy = RLock(), False
        self._torn = False  # whether the last line lacks its end, for want of room
        self._id = f"{os.getpid()}-{os.urandom(4).hex()}"
        self.calls = Rows(os.path.join(directory, f"marks-{self._id}"), ROW_WORDS)
        self._rounds: Rows | None = None

    @property
    def files(self) -> list[MarksFile]:
        """All that are mapped."""
        return self.calls.files + (self._rounds.files if self._rounds is not None else [])

    def number(self, name: str) -> int | None:
        """The number that stands for a region's name in the rows; None when it can't be written down."""
        with self._lock:
            if name not in self.numbers and not self._is_busy:
                try:
                    self._is_busy = True
                    if self._append([len(self.numbers), name]):
                        self.numbers[name] = len(self.numbers)
                finally:
                    self._is_busy = False
            return self.numbers.get(name)

    def begin(self, name: str, resumed: int = 0) -> tuple[MarksFile, int] | None:
        """Mark the beginning of a call; returns where its end goes, None if it was only counted."""
        number = self.numbers.get(name)
        if number is None and (number := self.number(name)) is None:
            number = _UNNAMED
        calls = self.calls
        file = calls.newest
        row = file.draw()
        while row >= FILE_ROWS:
            if not calls.grow(file):
                calls.count_lost(1 - resumed)
                self._lose(self._lost, name, resumed)
                return None
            file = calls.newest
            row = file.draw()
        words, at = file.words, row * ROW_WORDS
        words[at] = number << 1 | resumed
        words[at + 1] = get_ident()
        words[at + 2] = monotonic_ns()
        return file, at + 3

    def begin_round(self, name: str, first: int | None, cpu_us: int, peak_kib: int) -> tuple[MarksFile, int] | None:
        """Mark the beginning of a round or, with the row that began it, of its next interval.

        Returns:
            The file and the place of the row in its words; None if it was only counted.
        """
        number = self.numbers.get(name)
        if number is None and (number := self.number(name)) is None:
            number = _UNNAMED
        rounds = self._rounds or self._open_rounds()
        if rounds is None:
            return None
        file = rounds.newest
        row = file.draw()
        while row >= FILE_ROWS:
            if not rounds.grow(file):
                rounds.count_lost(first is None)
                self._lose(self._lost_rounds, name, first is not None)
                return None
            file = rounds.newest
            row = file.draw()
        words, at = file.words, row * ROUND_WORDS
        words[at] = number << 2 | (first is not None)
        words[at + 1] = file.first + row if first is None else first
        words[at + 4] = cpu_us
        words[at + 6] = peak_kib
        words[at + 2] = monotonic_ns()
        return file, at

    def _open_rounds(self) -> Rows | None:
        with self._lock:
            if self._rounds is None and not self._is_busy:
                try:
                    self._is_busy = True
                    self._rounds = Rows(os.path.join(self.directory, f"rounds-{self._id}"), ROUND_WORDS)
                finally:
                    self._is_busy = False
            return self._rounds

    def _lose(self, lost: dict[str, int], name: str, resumed: int) -> None:
        """Count a call; powers of two are written down, so that a kill forgets the names of less than half of them."""
        with self._lock:
            calls = lost[name] = lost.get(name, 0) + 1 - resumed
            if calls & (calls - 1) == 0 and not self._is_busy:
                try:
                    self._is_busy = True
                    self._append({name: calls} if lost is self._lost else [name, calls])
                finally:
                    self._is_busy = False

    def _append(self, entry: dict[str, int] | list[Any]) -> bool:
        """Add a line to this process's names, in one write so that lines of threads never mix."""
        path = os.path.join(self.directory, f"names-{self._id}")
        line = b"\n" * self._torn + json.dumps(entry).encode() + b"\n"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            pass_on(error)
            return False  # the directory was deleted, say: no marks, and the application never notices
        try:
            written = os.write(fd, line)
        except OSError as error:
            pass_on(error)
            written = 0
        finally:
            os.close(fd)
        if written:
            self._torn = written < len(line) and written > self._torn
        return written == len(line)

    def flush(self) -> None:
        """Write down how many calls were only counted."""
        if self._lost:
            self._append(self._lost)
        for name, calls in self._lost_rounds.items():
            self._append([name, calls])
