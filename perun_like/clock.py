"""The clock that everything is measured with: CLOCK_MONOTONIC, also where a program has replaced Python's clocks."""

from __future__ import annotations

from functools import partial
from time import CLOCK_MONOTONIC, clock_gettime_ns, monotonic_ns
from types import BuiltinFunctionType


class Clock:
    """Kept in a class: those who stop time for a test replace the clocks that they find in modules, ours too.

    Attributes:
        now_ns: A function that returns CLOCK_MONOTONIC.
    """

    # Who imports us while time stands still is given another function for Python's.
    now_ns = staticmethod(
        monotonic_ns if isinstance(monotonic_ns, BuiltinFunctionType) else partial(clock_gettime_ns, CLOCK_MONOTONIC)
    )
