"""A clock that stands still until it is told to move on."""

from __future__ import annotations

from perun_like.errors import InputError


class ManualClock:
    """Nanoseconds that only advance by hand: the time of tests that run in one process.

    Calling it gives the time, as ``time.monotonic_ns`` does; ``sleep`` returns at once, later.
    """

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        """The time now, in nanoseconds."""
        return self.now_ns

    def advance(self, duration_ns: int) -> int:
        """Move on, and return the new time.

        Raises:
            InputError: a monotonic clock doesn't go back.
        """
        if duration_ns < 0:
            raise InputError(f"a monotonic clock can't go back by {-duration_ns} ns")
        self.now_ns += duration_ns
        return self.now_ns

    def sleep(self, duration_s: float) -> None:
        """What ``time.sleep`` is to the real clock: nothing happens, but it is later."""
        self.advance(round(duration_s * 1e9))
