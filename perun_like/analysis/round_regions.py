"""Regions of each round, and what they were on the mean."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from perun_like.analysis.hosts import Host
from perun_like.analysis.regions import Key, at_least, labelled, only_counted, regions_of
from perun_like.analysis.rounds import Call, Round
from perun_like.analysis.statistics import mean_of
from perun_like.model.node import Region
from perun_like.model.recording import RegionCalls

_UNCOUNTED = "calls that were only counted, in any of the rounds"


def regions_in(host: Host, of: Round) -> list[Region]:
    """Regions of a host in a round.

    A process that was started in a round belongs to it with all its calls. Of a process that goes on after a round,
    a call counts in each round that it touches.

    Args:
        host: The host in this round.
        of: The round, what was of it on this host.
    """
    roots = [process.pid for process in of.processes]
    if of.calls is None:
        recorded = host.recording.regions if of.rounds == 1 else _started(host)
        ends_ns = {process.pid: process.stop_ns + host.shift_ns for process in of.processes}
        return regions_of(host, roots, [_ended(calls, ends_ns.get(calls.pid)) for calls in recorded])
    recorded = host.recording.regions if len(of.calls) == 1 else list(_by_rank(host, of.calls))
    if of.rounds == 1:
        return regions_of(host, roots, recorded, in_place=True)
    touching = [_touching(calls, host.window_ns) for calls in recorded]
    uncounted = lost_calls([host])
    return [
        _incomplete(region) if (region.name, region.rank) in uncounted else region
        for region in regions_of(host, roots, [calls for calls in touching if len(calls.region)], in_place=True)
    ]


def _by_rank(host: Host, ranks: Sequence[Call]) -> Iterator[RegionCalls]:
    """What each rank did in its own round, which others may have begun before and ended after."""
    rounds = {call.rank: call.windows.later(host.shift_ns) for call in ranks}
    for calls in host.recording.regions:
        if calls.rank in rounds:
            own = rounds[calls.rank]
            yield _cut(calls, (int(own.a_ns[0]), int(own.b_ns[-1])), host.run_ns[1])


def _cut(calls: RegionCalls, window_ns: tuple[int, int], end_ns: int) -> RegionCalls:
    """Calls cut to a window, but for those still open at the run's end: how long they lasted isn't known."""
    touching = _touching(calls, window_ns)._replace(lost_calls=calls.lost_calls)
    start_ns, stop_ns = touching.start_ns, touching.stop_ns
    stop_ns = np.where(stop_ns >= end_ns, stop_ns, np.minimum(stop_ns, window_ns[1]))
    return touching._replace(start_ns=np.maximum(start_ns, window_ns[0]), stop_ns=stop_ns)


def _started(host: Host) -> list[RegionCalls]:
    a_ns, until_ns = host.window_ns[0], host.until_ns
    firsts = [(calls, int(calls.start_ns.min())) for calls in host.recording.regions if len(calls.start_ns)]
    return [calls for calls, first_ns in firsts if a_ns <= first_ns and (until_ns is None or first_ns < until_ns)]


def _ended(calls: RegionCalls, end_ns: int | None) -> RegionCalls:
    """Calls of a process that may have ended before others did: those left open end with it."""
    if end_ns is None or not (calls.stop_ns > end_ns).any():
        return calls
    return calls._replace(stop_ns=np.minimum(calls.stop_ns, end_ns))


def _touching(calls: RegionCalls, window_ns: tuple[int, int]) -> RegionCalls:
    some = np.flatnonzero((calls.start_ns < window_ns[1]) & (calls.stop_ns > window_ns[0]))
    columns = ("region", "thread", "start_ns", "stop_ns", "resumed")
    return calls._replace(lost_calls={}, **{column: getattr(calls, column)[some] for column in columns})


def _incomplete(region: Region) -> Region:
    return region._replace(metrics={name: at_least(metric, _UNCOUNTED) for name, metric in region.metrics.items()})


def lost_calls(hosts: Iterable[Host]) -> dict[Key, int]:
    """Calls that were only counted, by name and rank."""
    lost: Tally[Key] = Tally()
    for host in hosts:
        for calls in host.recording.regions:
            lost.update({(name, calls.rank): count for name, count in calls.lost_calls.items()})
    return dict(lost)


def mean_regions(rounds: Sequence[Sequence[Region]], lost: dict[Key, int], whose: str) -> list[Region]:
    """Means over the rounds in which each region was active.

    Args:
        rounds: The regions of each round.
        lost: Calls that are in none of them.
        whose: What these rounds are, ``5 rounds``.
    """
    parts: dict[Key, list[Region]] = {}
    for region in (region for regions in rounds for region in regions):
        parts.setdefault((region.name, region.rank), []).append(region)
    made = [_mean(key, those, lost.get(key, 0), whose) for key, those in parts.items()]
    made += [only_counted(key, count) for key, count in lost.items() if key not in parts]
    return sorted(made, key=lambda region: (region.name, region.rank))


def _mean(key: Key, regions: Sequence[Region], lost: int, whose: str) -> Region:
    active = [region for region in regions if region.metrics["runtime_s"].value] or regions
    metrics = {
        name: mean_of([region.metrics[name] for region in active], f"{len(active)} of {whose}")
        for name in active[0].metrics
    }
    metrics["energy_j"] = labelled(metrics["energy_j"], 1)
    return Region(key[0], key[1], sum(region.calls for region in regions) + lost, metrics)
