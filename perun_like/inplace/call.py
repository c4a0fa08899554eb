"""One call of a profiled function, or pass through a block: from its beginning to its figures."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from perun_like.clock import Clock
from perun_like.inplace.stderr import reason_of
from perun_like.model.node import METRICS, missing_metrics
from perun_like.monitoring.region import RegionCall
from perun_like.sampling.handlers import is_of_handler, pass_on

if TYPE_CHECKING:
    from perun_like.inplace.profile import Profile
    from perun_like.inplace.session import Session
    from perun_like.model.node import DataNode, Metric
    from perun_like.monitoring.own_process import Round

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
        except Exception as error:
            if is_of_handler(error):
                self.leave(True)
                raise
            # The edge to somebody's program, which nothing of ours may break.
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
        if self.start_ns and self._first is None:
            return  # its beginning was only counted: its other steps are no calls of their own
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
                pass_on(error)
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
        """Its figures with bounds, by name; where there is no result, each is missing, with the reason."""
        if self.result is not None:
            return self.result.metrics
        return missing_metrics(self.problem or "it has not ended")

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


def innermost_of(profile: Profile) -> Call | None:
    """The call of a profile that was begun last and is open in this context; None if there is none."""
    return next((call for call in reversed(_open.get()) if call.profile is profile), None)
