"""One backend, read on an absolute time grid in a thread of its own, so that a slow read holds up nothing else."""

from __future__ import annotations

import _thread
import contextlib
import time
from collections.abc import Sequence
from threading import Event, Thread

from perun_like.sampling.spool import Tail
from perun_like.sensing.contract import Backend, Context, Reader, Sensor
from perun_like.sensing.overlap import is_energy
from perun_like.units import NS_PER_S

_GO_ON, _REST, _END = "go on", "rest", "end"
_SHORTEST_NS = 10_000_000  # between sweeps that only wait for an update
_RAISED_IN_A_ROW = 20  # a backend that does nothing but raise is given up


def closest_ns(backend: Backend, sensors: Sequence[Sensor], period_ns: int) -> int:
    """How close together the sweeps of a backend can be: on the grid, or while they wait for an update."""
    settling_ns = _settling_ns(backend)
    return min(settling_ns, period_ns) if _settled_after_ns(sensors) > 1.5 * settling_ns else period_ns


def _settling_ns(backend: Backend) -> int:
    return max(backend.min_period_ns // 2, _SHORTEST_NS)


def _settled_after_ns(sensors: Sequence[Sensor]) -> int:
    """How long after an instant a read shows at the latest what there was."""
    return max(sensor.tick_ns + sensor.lag_ns for sensor in sensors)


class Sweeper:
    """Sweeps one backend's sensors from ``start`` until ``stop``.

    Attributes:
        sensors: What a row holds, in order.
        missed: Grid points that were skipped because a sweep or the machine was late.
        worst_lateness_ns: The largest distance between a grid point and the sweep that served it.
        newest: When the last sweep began, and what it read.
        dropped: Sweeps that found no room in the tail.
        failure: Why it gave up; None while all is well.
    """

    def __init__(
        self, backend: Backend, sensors: Sequence[Sensor], context: Context, period_ns: int, tail: Tail
    ) -> None:
        self.sensors = tuple(sensors)
        self.period_ns = period_ns
        self.tail = tail
        self.missed = self.worst_lateness_ns = self.dropped = 0
        self.failure: str | None = None
        self.first_sweep = Event()
        self._reader: Reader = backend.open(self.sensors, context)
        self._settling_ns = _settling_ns(backend)
        # A lock that is held until there is something else to do: waiting for it with a timeout is a sleep that can
        # be cut short, and costs a third of what an Event does.
        self._woken = _thread.allocate_lock()
        self._woken.acquire()
        self._wish = _END
        self._settled_ns = 0
        self._done = Event()
        self._raised = 0
        self.newest: tuple[int, Sequence[int | None]] = 0, ()
        self._nothing = [None] * len(self.sensors)
        self._thread = Thread(target=self._run, name=backend.name, daemon=True)

    def start(self) -> None:
        """Begin; ``first_sweep`` is set once every sensor has been read."""
        self._thread.start()

    @property
    def reads_energy(self) -> bool:
        """Whether any of its sensors measures or estimates energy."""
        return any(is_energy(sensor) for sensor in self.sensors)

    def stop(self, stop_ns: int) -> None:
        """End with a sweep late enough to show the counters' values at ``stop_ns``."""
        self._ask(_END, stop_ns)

    def sync(self, after_ns: int) -> Event:
        """Sweep once that shows the counters' values at ``after_ns``, and go on; the event says when it is done."""
        return self._ask(_GO_ON, after_ns)

    def rest(self) -> Event:
        """Sweep once more, and then not before the next ``sync`` or ``stop``."""
        return self._ask(_REST, time.monotonic_ns())

    def _ask(self, wish: str, settled_ns: int) -> Event:
        self._wish, self._done = wish, Event()
        self._settled_ns = settled_ns + _settled_after_ns(self.sensors)
        if self._woken.locked():  # else it is still at what it was asked before: a read that blocks
            self._woken.release()
        return self._done

    def join(self, timeout_s: float) -> bool:
        """Wait for the last sweep, if there was a first one; False when a read has blocked for longer than that."""
        if self._thread.ident is not None:  # else the monitor was killed before it said "start"
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._sweep()
            self.first_sweep.set()
            goes_on = True
            while goes_on:
                self._follow_grid(time.monotonic_ns())
                goes_on = self._serve()
        except Exception as error:  # noqa: BLE001 - runs strangers' backends: one that raises ends alone
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            self.first_sweep.set()
            self._done.set()
            with contextlib.suppress(Exception):
                self._reader.close()

    def _serve(self) -> bool:
        """Sweep once what was asked for can be seen, and do it; whether to go on."""
        wish, done = self._wish, self._done
        self._wait_until_settled()
        self._sweep()
        done.set()
        if wish == _REST:
            self._woken.acquire()
            return self._serve()
        return wish == _GO_ON

    def _follow_grid(self, origin_ns: int) -> None:
        period, now, ended = self.period_ns, time.monotonic_ns, self._woken.acquire
        due = origin_ns + period
        while True:
            wait_ns = due - now()
            if ended(True, wait_ns / NS_PER_S if wait_ns > 0 else 0):
                return
            lateness = now() - due
            if lateness > self.worst_lateness_ns:
                self.worst_lateness_ns = lateness
            if lateness > period:  # grid points that have passed can't be read any more
                self.missed += lateness // period
                due += lateness // period * period
            self._sweep()
            due += period

    def _sweep(self) -> None:
        t0_ns = time.monotonic_ns()
        try:
            values = self._reader.read()
            self._raised = 0
        except Exception:  # a stranger's backend: the sweep has failed, the next may not
            self._raised += 1
            if self._raised > _RAISED_IN_A_ROW:
                raise
            values = self._nothing
        t1_ns = time.monotonic_ns()
        self.newest = t0_ns, values
        if not self.tail.append(t0_ns, t1_ns, values):
            self.dropped += 1

    def _wait_until_settled(self) -> None:
        """Until a read must show what a counter held at the end: one update and one lag after it.

        If that is long it sweeps meanwhile, so that it is seen when the updates come, around the instant that counts.
        """
        while (left_ns := self._settled_ns - time.monotonic_ns()) > 0:
            is_long = left_ns > 1.5 * self._settling_ns
            time.sleep((self._settling_ns if is_long else left_ns) / NS_PER_S)
            if is_long:
                self._sweep()
