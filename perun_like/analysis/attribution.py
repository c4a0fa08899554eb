"""The application's share of its host's energy: bounds that hold whoever answers for idle power, and a value.

With E the host's energy, cpu the application's CPU time, busy the host's, and capacity = logical CPUs x time::

    lower = E x cpu / capacity    the application answers only for the CPUs it used, idle ones are others'
    upper = E x cpu / busy        everything is divided among those who ran, idle power with it

The value is the middle of both factors: nothing that is measured says who answers for idle power, and the middle
is the figure whose error can't exceed half the distance, whoever does. Both are equal on a busy host.
What isn't the application's ("idle and others") is the rest: share and rest are the host's total exactly.
"""

from __future__ import annotations

from typing import NamedTuple

from perun_like.analysis.hosts import Host
from perun_like.analysis.totals import NO_TIME
from perun_like.analysis.windows import Windows, increases
from perun_like.model.node import Metric, Provenance, Scope
from perun_like.model.recording import Process

METHOD = "by CPU time; its bounds give it none or all of the machine's idle power"
_CPU_BUSY = "host:cpu_busy"
_CPU_TIME = "processes:cpu_time"


class Bounds(NamedTuple):
    """A figure between two others."""

    lower: float
    value: float
    upper: float


class Share(NamedTuple):
    """The application's part of a host's energy and the rest."""

    share: Metric
    rest: Metric


def share_of(energy: Metric, cpu_s: Bounds, busy_s: Bounds, capacity_s: float) -> Share:
    """Divide a host's energy between the application and all else.

    Args:
        energy: Of the host's devices.
        cpu_s: CPU time of the application.
        busy_s: CPU time of everything on the host.
        capacity_s: Logical CPUs times the length of the window.
    """
    if energy.value is None or capacity_s <= 0:
        reason = energy.reason or NO_TIME
        return Share(*(Metric.absent("J", reason, scope) for scope in (Scope.APPLICATION, Scope.HOST)))
    low, middle, high = _fractions(cpu_s, busy_s, capacity_s)
    rest = energy.value - energy.value * middle
    value = energy.value - rest  # so that share + rest is the total to the last bit
    share = Metric(
        value=value,
        unit="J",
        lower=min((energy.lower or 0.0) * low, value),
        upper=None if energy.upper is None else max(energy.upper * high, value),
        provenance=Provenance.ESTIMATED,
        scope=Scope.APPLICATION,
        missing=energy.missing,
        reason=energy.reason,
        method=METHOD,
    )
    return Share(share, _rest(energy, rest, low, high))


def _rest(energy: Metric, value: float, low: float, high: float) -> Metric:
    return Metric(
        value=value,
        unit="J",
        lower=min((energy.lower or 0.0) * (1 - high), value),
        upper=None if energy.upper is None else max(energy.upper * (1 - low), value),
        provenance=Provenance.ESTIMATED,
        scope=Scope.HOST,
        missing=energy.missing,
        reason=energy.reason,
        method="idle and others: the host's energy without the application's share",
    )


def _fractions(cpu_s: Bounds, busy_s: Bounds, capacity_s: float) -> Bounds:
    """The share as a factor. CPU time counts in whole ticks, so it is first made to fit: cpu <= busy <= capacity."""
    low = min(cpu_s.lower / capacity_s, 1.0)
    high = _ratio(cpu_s.upper, max(busy_s.lower, cpu_s.upper))
    busy = min(max(busy_s.value, cpu_s.value), capacity_s)
    middle = (min(cpu_s.value / capacity_s, 1.0) + _ratio(cpu_s.value, busy)) / 2
    return Bounds(low, min(max(middle, low), high), max(high, low))


def _ratio(part: float, whole: float) -> float:
    return min(part / whole, 1.0) if whole > 0 else 0.0


def busy_seconds(host: Host) -> Bounds | None:
    """CPU time of everything on a host during the run; None if it wasn't recorded."""
    counter = host.counters.get(_CPU_BUSY)
    capacity_s = (host.logical_cpus or 0) * host.duration_s
    if counter is None or not capacity_s:
        return None
    [found] = increases([counter], Windows.one(*host.window_ns))
    if found.missing_s[0] > 0:
        return None
    upper = float(found.upper[0])
    bounds = (float(found.lower[0]), float(found.value[0]), upper if upper == upper else capacity_s)  # nan
    return Bounds(*(min(bound, capacity_s) for bound in bounds))


def application_seconds(host: Host, processes: list[Process]) -> Bounds | None:
    """CPU time of the application on a host: reaped processes exactly, else as last sampled; None if unknown.

    Descendants that outlived their parents weren't reaped with them: then the samples say more.
    """
    reaped_s = sum(process.cpu_s for process in processes if process.cpu_s is not None)
    sampled = host.last_value(_CPU_TIME)
    complete = bool(processes) and all(process.cpu_s is not None for process in processes)
    if complete and (sampled is None or sampled[0] <= reaped_s):
        return Bounds(reaped_s, reaped_s, reaped_s)
    if sampled is None and not reaped_s:
        return None
    known_s, at_ns = sampled or (reaped_s, host.window_ns[0])
    known_s = max(known_s, reaped_s)
    after_s = max(host.window_ns[1] - at_ns, 0) / 1e9
    return Bounds(known_s, known_s, known_s + after_s * (host.logical_cpus or 0))
