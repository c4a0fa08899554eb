"""The application's largest memory: what the kernel says of each process, and what was sampled of all together."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.analysis.attribution import COUNT, were_alone
from perun_like.analysis.hosts import Host
from perun_like.analysis.rounds import Call
from perun_like.model.node import Metric, Provenance, Scope
from perun_like.model.recording import Process

_METHOD = "largest seen of the sum over processes; it can have been higher between two samples"
_RSS = "processes:rss"
_ALONE = "no other process was seen"
_LOW = "more was seen than the kernel remembers as the peak"


def memory_peak(host: Host, processes: Sequence[Process]) -> Metric:
    """Largest resident memory of the application's processes on a host, together, in bytes.

    The kernel remembers the peak of each single process to the page, but not when it was: the peak of their sum
    is at least that of the largest one and at least any sampled sum. It is at most the sum of the ranks' peaks if no
    other process was seen beside them. Once there are others, nothing bounds it from above: they come and go between
    two samples.
    """
    single = max((own for own in map(_own_peak, processes) if own is not None), default=None)
    sampled = _largest(host, _RSS)
    known = [peak for peak in (single, sampled) if peak is not None]
    if not known:
        return _unresolved(processes)
    value = max(known)
    if len(processes) == 1 and _largest(host, COUNT) == 1:
        most = processes[0].max_rss_b
        # Linux 6.2 and later sum up what each CPU has counted by then: their peak may be some hundred pages too low.
        return _metric(value, _above(value, most), _ALONE if most is None or most >= value else _LOW)
    if len(processes) > 1:
        return _of_several(host, processes, value, sampled)
    return _metric(value, None, _METHOD if sampled is not None else "largest process; too short to be sampled")


def _of_several(host: Host, processes: Sequence[Process], least: int, sampled: int | None) -> Metric:
    """The peak of several ranks' sum: what was sampled of it, else the sum of their peaks."""
    own = [process.max_rss_b for process in processes if process.max_rss_b is not None]
    most = sum(own) if len(own) == len(processes) else None
    if sampled is not None:
        alone = _largest(host, COUNT) == len(processes)
        return _metric(least, _above(least, most) if alone else None, _METHOD)
    if most is None:
        return _metric(least, None, "largest process; too short to be sampled")
    value = max(most, least)
    text = "sum of the ranks' peaks, which needn't coincide; too short to be sampled"
    return Metric(value, "B", least, None, Provenance.MEASURED, Scope.APPLICATION, method=text)


def rank_peak(host: Host | None, processes: Sequence[Process], on_host: int) -> Metric:
    """Largest resident memory of a rank, in bytes: that of its largest process.

    Args:
        host: Its host in this round, if that was recorded.
        processes: The rank's.
        on_host: How many processes of ranks there were on the host: if no more were seen, this is exact.
    """
    own = [peak for peak in map(_own_peak, processes) if peak is not None]
    if not own:
        return _unresolved(processes)
    alone = host is not None and len(processes) == 1 and _largest(host, COUNT) == on_host
    return _metric(max(own), max(own) if alone else None, _ALONE if alone else "its largest process")


def call_peak(host: Host, call: Call, on_host: int) -> Metric:
    """Largest resident memory of a rank's process in a round that it measured in place, in bytes."""
    peak_b, alone = call.peak_after_b, were_alone(host, on_host)
    if peak_b is not None and _has_risen(call):
        return _metric(peak_b, peak_b if alone else None, _ALONE if alone else "its largest process")
    if peak_b is None or not alone:
        return Metric.absent("B", "a rank's own memory is only known where a round raises its peak", Scope.APPLICATION)
    reason = f"the round raised no peak; the rank used at most {peak_b / 2**20:.0f} MiB"
    return Metric(None, "B", None, peak_b, Provenance.MISSING, Scope.APPLICATION, reason=reason)


def in_place_peak(host: Host, calls: Sequence[Call], processes: int) -> Metric:
    """Largest resident memory of processes in a round that they measured in place, together, in bytes.

    The kernel remembers a peak, but not when it was: one that rose during the round was in it, and is exact. Else
    the round needed no more than what had been the peak before, and what was sampled in it is known.

    Args:
        host: The host in this round.
        calls: What the processes said of themselves.
        processes: How many measured a part of themselves here.
    """
    risen = [call.peak_after_b for call in calls if call.peak_after_b is not None and _has_risen(call)]
    highest = [call.peak_after_b for call in calls if call.peak_after_b is not None]
    sampled = _largest(host, _RSS)
    known = [peak for peak in (*risen, sampled) if peak is not None]
    alone = were_alone(host, processes)
    most = sum(highest) if alone and highest and len(highest) == processes else None
    if known:
        value = max(known)
        return _metric(value, None if most is None else _above(value, most), _ALONE if alone else _METHOD)
    unended = any(call.unended for call in calls)
    reason = f"the {'recording' if unended else 'round'} ended before memory was sampled"
    if most is None:
        return Metric.absent("B", reason, Scope.APPLICATION)
    reason += f"; the process used at most {most / 2**20:.0f} MiB"
    return Metric(None, "B", None, most, Provenance.MISSING, Scope.APPLICATION, reason=reason)


def _has_risen(call: Call) -> bool:
    before_b, after_b = call.peak_before_b, call.peak_after_b
    return before_b is not None and after_b is not None and after_b > before_b


def _above(value: int, bound: int | None) -> int | None:
    """The bound, if it is one."""
    return bound if bound is not None and bound >= value else None


def _metric(value: int, upper: int | None, method: str) -> Metric:
    return Metric(value, "B", value, upper, Provenance.MEASURED, Scope.APPLICATION, method=method)


def _own_peak(process: Process) -> int | None:
    """The largest of a process and its descendants; None if it may be that of the profiler it was forked from."""
    peak = process.max_rss_b
    return peak if peak is not None and peak > process.max_rss_floor_b else None


def _unresolved(processes: Sequence[Process]) -> Metric:
    """Nothing sampled, and no more than what every child of the profiler has used before it even starts."""
    if any(process.unended for process in processes):
        reason = "memory was not sampled, and an end, which tells its peak, was not recorded"
        return Metric.absent("B", reason, Scope.APPLICATION)
    most = [p.max_rss_b for p in processes if p.max_rss_b is not None]
    reason = "the process ended before its memory was sampled"
    if not most:
        return Metric.absent("B", reason, Scope.APPLICATION)
    reason += f"; it used at most {max(most) / 2**20:.0f} MiB"
    return Metric(None, "B", None, sum(most), Provenance.MISSING, Scope.APPLICATION, reason=reason)


def _largest(host: Host, id_: str) -> int | None:
    """Largest value of a gauge in the round; of an application that ended with it, in the whole recording."""
    gauge = host.gauges.get(id_)
    if gauge is None:
        return None
    values = gauge.values if host.whole else gauge.within(host.windows)
    return int(values.max()) if len(values) else None
