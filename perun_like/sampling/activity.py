"""Whether the application is within anything that is measured in place: a sampler needn't read while it isn't.

A notebook's kernel may live for days between two calls.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time

from perun_like.sampling.marks import ROUND_WORDS, file_bytes
from perun_like.sampling.segments import opened

REST_AFTER_S = 10.0  # without a call; the process says when there is one again

_ROW = struct.Struct(f"<{ROUND_WORDS}q")
_START, _STOP = 2, 3


class Activity:
    """The rounds that are marked in a directory, followed as they come."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._seen: dict[str, int] = {}  # bytes by file
        self._open: set[tuple[str, int]] = set()
        self._last_ns = time.monotonic_ns()

    def touch(self) -> None:
        """Something is about to begin."""
        self._last_ns = time.monotonic_ns()

    def is_over(self) -> bool:
        """Whether nothing has been measured for so long that nothing needs to be read."""
        return self.idle_s() > REST_AFTER_S

    def idle_s(self) -> float:
        """How long ago the last round ended; 0 while one is open."""
        for name in self._names():
            with contextlib.suppress(OSError):  # an interrupt came while it was made: nothing will be marked there
                self._follow(name)
        now_ns = time.monotonic_ns()
        return 0.0 if self._open else (now_ns - self._last_ns) / 1e9

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._directory) if name.startswith("rounds-")]
        except OSError:  # the directory was deleted: nothing more will be marked
            return []

    def _follow(self, name: str) -> None:
        with opened(os.path.join(self._directory, name), file_bytes(ROUND_WORDS)) as read:
            for place in [place for owner, place in self._open if owner == name]:
                if self._ended(read(place, _ROW.size)):
                    self._open.discard((name, place))
            while len(row := read(self._seen.get(name, 0), _ROW.size)) == _ROW.size and _ROW.unpack(row)[_START]:
                place = self._seen.get(name, 0)
                self._seen[name] = place + _ROW.size
                if not self._ended(row):
                    self._open.add((name, place))

    def _ended(self, row: bytes) -> bool:
        stop_ns = _ROW.unpack(row)[_STOP]
        self._last_ns = max(self._last_ns, stop_ns)
        return bool(stop_ns)
