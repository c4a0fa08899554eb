"""The application's share of its host's energy: bounds that hold whoever answers for idle CPUs, and a value.

With E the host's energy, cpu the application's CPU time, busy the host's, and capacity = logical CPUs x time::

    lower = E x cpu / capacity    the application answers only for the CPUs it used, idle ones are others'
    upper = E x cpu / busy        everything is divided among those who ran, the power of idle CPUs with it

The value is the middle of both factors: nothing that is measured says who answers for idle CPUs, and the middle
is the figure whose error can't exceed half the distance, whoever does. Both are equal on a busy host. Of what a machine
draws whether it works or not, a CPU's part goes to those who use this CPU: these aren't bounds of what would not have
been drawn without the application.
Energy of GPUs is not divided by CPU time. Those the application can see are counted whole, with a lower bound of
nothing: job systems give a GPU to one job, and nothing that is measured says who else used it.
What isn't the application's ("idle and others") is the rest: share and rest are the host's total exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perun_like.analysis.hosts import Host
from perun_like.analysis.rounds import Call
from perun_like.analysis.totals import NO_TIME
from perun_like.analysis.windows import increases
from perun_like.model.node import Metric, Provenance, Scope
from perun_like.model.recording import Process

UNASKED = "the CPU time of calls that follow each other at once is not asked for: that would slow them down"
UNENDED = "the recording ends before the call did, and CPU time is only told at its end"
METHOD = "by CPU time; at least its part of all CPUs' time, at most of the busy CPUs' time"
CPU_BUSY = "host:cpu_busy"
_CPU_TIME = "processes:cpu_time"
COUNT = "processes:count"
_ROUNDING_S = 0.05  # samples are in ticks of 10 ms, user and system time apart


class Bounds(NamedTuple):
    """A figure between two others."""

    lower: float
    value: float
    upper: float


class Basis(NamedTuple):
    """By what the energy of a host is divided.

    Attributes:
        cpu_s: CPU time of the application.
        busy_s: CPU time of everything on the host.
        capacity_s: Logical CPUs times the length of the window.
    """

    cpu_s: Bounds
    busy_s: Bounds
    capacity_s: float


class Share(NamedTuple):
    """The application's part of a host's energy and the rest."""

    share: Metric
    rest: Metric


def basis_of(host: Host, processes: Sequence[Process], calls: Sequence[Call] | None = None) -> Basis | str:
    """By what the energy of a host is divided in a round, or why that isn't known.

    Args:
        host: The host in this round.
        processes: The application's processes on it.
        calls: What they said of the round, if it was measured in place.
    """
    capacity_s = (host.logical_cpus or 0) * host.duration_s
    if calls is None:
        cpu_s, unknown = application_seconds(host, processes), "the application's CPU time is not known"
    else:
        cpu_s, unknown = in_place_seconds(host, calls, len(processes)), why_unknown(calls)
    if cpu_s is None:
        return unknown
    if not capacity_s:
        return "the number of CPUs is not known" if host.duration_s > 0 else NO_TIME
    # Without the host's CPU time all that is known is that it lies between the application's and the capacity.
    return Basis(cpu_s, busy_seconds(host) or Bounds(cpu_s.value, cpu_s.value, capacity_s), capacity_s)


def share_of(energy: Metric, basis: Basis | str, gpu: Metric | None = None) -> Share:
    """Divide a host's energy between the application and all else.

    Args:
        energy: Of the host's devices.
        basis: By what it is divided, or why that isn't known.
        gpu: The part of ``energy`` that is of GPUs which the application can see.
    """
    if energy.value is None or isinstance(basis, str):
        reason = energy.reason or NO_TIME if energy.value is None else str(basis)
        return Share(*(Metric.absent("J", reason, scope) for scope in (Scope.APPLICATION, Scope.HOST)))
    low, middle, high = fractions(basis)
    whole = gpu_energy(gpu)
    divided = energy.value - whole.value
    rest = divided - divided * middle
    value = energy.value - rest
    rest = energy.value - value  # one of the two differences is exact: share + rest is the total to the last bit
    least = max((energy.lower or 0.0) - whole.lower, 0.0)
    most = None if energy.upper is None else max(energy.upper - whole.upper, 0.0)
    shared = Bounds(least * low, value, 0.0 if most is None else most * high + whole.upper)
    others = Bounds(least * (1 - high), rest, 0.0 if most is None else most * (1 - low) + whole.upper)
    known = most is not None
    method = f"{METHOD}; GPUs it can see are counted whole" if whole.value else METHOD
    return Share(
        part_of(energy, shared, known, Scope.APPLICATION, method),
        part_of(
            energy, others, known, Scope.HOST, "idle and others: the host's energy without the application's share"
        ),
    )


def gpu_energy(gpu: Metric | None) -> Bounds:
    """The energy of GPUs; nothing where none was read."""
    if gpu is None or gpu.value is None:
        return Bounds(0.0, 0.0, 0.0)
    return Bounds(gpu.lower or 0.0, gpu.value, gpu.value if gpu.upper is None else gpu.upper)


def part_of(energy: Metric, bounds: Bounds, bounded: bool, scope: Scope, method: str) -> Metric:
    """A part of an energy; what the whole lacks, the part lacks too."""
    return Metric(
        value=bounds.value,
        unit="J",
        lower=min(bounds.lower, bounds.value),
        upper=max(bounds.upper, bounds.value) if bounded else None,
        provenance=Provenance.ESTIMATED,
        scope=scope,
        missing=energy.missing,
        reason=energy.reason,
        method=method,
    )


def fractions(basis: Basis) -> Bounds:
    """The share as a factor. CPU time counts in whole ticks, so it is first made to fit: cpu <= busy <= capacity."""
    cpu_s, busy_s, capacity_s = basis
    low = min(cpu_s.lower / capacity_s, 1.0)
    high = _ratio(cpu_s.upper, max(busy_s.lower, cpu_s.upper))
    busy = min(max(busy_s.value, cpu_s.value), capacity_s)
    middle = (min(cpu_s.value / capacity_s, 1.0) + _ratio(cpu_s.value, busy)) / 2
    return Bounds(low, min(max(middle, low), high), max(high, low))


def _ratio(part: float, whole: float) -> float:
    return min(part / whole, 1.0) if whole > 0 else 0.0


def busy_seconds(host: Host) -> Bounds | None:
    """CPU time of everything on a host during the run; None if it wasn't recorded."""
    counter = host.counters.get(CPU_BUSY)
    capacity_s = (host.logical_cpus or 0) * host.duration_s
    if counter is None or not capacity_s:
        return None
    [found] = increases([counter], host.windows)
    if found.missing_s[0] > 0:
        return None
    upper = float(found.upper[0])
    bounds = (float(found.lower[0]), float(found.value[0]), upper if upper == upper else capacity_s)  # nan
    return Bounds(*(min(bound, capacity_s) for bound in bounds))


def application_seconds(host: Host, processes: Sequence[Process]) -> Bounds | None:
    """CPU time of the application on a host; None if unknown.

    It is exact if all processes were reaped by who started them: wait4 then tells the time of all. Descendants that
    outlive them, or that nobody waits for, may have used all that the host was busy with beside them.
    """
    reaped_s = sum(process.cpu_s for process in processes if process.cpu_s is not None)
    sampled_s = _sampled_seconds(host)
    complete = bool(processes) and all(process.cpu_s is not None for process in processes)
    if complete and (sampled_s or 0.0) <= reaped_s + _ROUNDING_S and not _survivors(host):
        return Bounds(reaped_s, reaped_s, reaped_s)
    if sampled_s is None and not reaped_s:
        return None
    return _at_least(host, max(sampled_s or 0.0, reaped_s))


def in_place_seconds(host: Host, calls: Sequence[Call], processes: int) -> Bounds | None:
    """CPU time of a round that was measured in place; None if the process wasn't asked for it.

    Args:
        host: The host in this round.
        calls: What the processes said of themselves.
        processes: How many measured a part of themselves here. With others beside them, which are the
            application's too, it is only known that they used what the host was busy with at most.
    """
    told = [call.cpu_s for call in calls]
    known_s = sum(seconds for seconds in told if seconds is not None)
    if not told or None in told:
        return None
    return Bounds(known_s, known_s, known_s) if were_alone(host, processes) else _at_least(host, known_s)


def why_unknown(calls: Sequence[Call]) -> str:
    """Why the CPU time of calls isn't known, if it isn't."""
    return UNENDED if any(call.unended for call in calls if call.cpu_s is None) else UNASKED


def were_alone(host: Host, processes: int) -> bool:
    """Whether no other process of the application was seen as long as the run lasted."""
    seen = host.gauges.get(COUNT)
    if seen is None:
        return False
    # What is seen after it may be what saves the results.
    values = seen.values[seen.t0_ns < host.run_ns[1]]
    return len(values) > 0 and bool(values.max() <= processes)


def _at_least(host: Host, known_s: float) -> Bounds:
    busy_s = busy_seconds(host)
    most_s = busy_s.upper if busy_s is not None else (host.logical_cpus or 0) * host.duration_s
    return Bounds(known_s, known_s, max(known_s, most_s))


def _sampled_seconds(host: Host) -> float | None:
    """CPU time that was certainly seen in the processes; None if it wasn't recorded."""
    if host.whole:  # they have used nothing before it
        last = host.readings.last_value(_CPU_TIME)
        return None if last is None else last[0]
    counter = host.counters.get(_CPU_TIME)
    if counter is None or not counter.reads:
        return None
    return float(increases([counter], host.windows)[0].lower[0])


def _survivors(host: Host) -> bool:
    """Whether processes of the application were seen after its end, and before the next round."""
    seen = host.gauges.get(COUNT)
    if seen is None:
        return False
    later = seen.t0_ns >= host.window_ns[1]
    if host.until_ns is not None:
        later &= seen.t0_ns < host.until_ns
    return bool((seen.values[later] > 0).any())
