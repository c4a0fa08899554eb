"""Regions of the program: how long each was active on a rank, and what its host's devices used meanwhile.

A region's time is the union of all its calls on a rank: recursion, threads and forked processes overlap, and an
instant counts once. Energies of different regions overlap wherever they were active at the same time.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from perun_like.analysis.energy import energies, energy_sensors, sensor_energy, total_energy
from perun_like.analysis.hosts import Host
from perun_like.analysis.intervals import clipped, union
from perun_like.analysis.short_calls import Correction, ShortCalls
from perun_like.analysis.totals import NO_TIME, WIDE, per_second, total
from perun_like.analysis.windows import Windows
from perun_like.model.node import Metric, Provenance, Region, Scope
from perun_like.model.recording import Int64s, RegionCalls
from perun_like.sensing.contract import MEASURED

_MOST_STATISTICAL = 100  # regions and ranks of a host, the longest: statistics take some milliseconds for each
STATISTICAL = "statistics over many short calls: how energy follows them from one read to the next"
_OPEN = "calls that were open when their process died are counted until the run's end"

Key = tuple[str, int]  # name, rank


class _Calls(NamedTuple):
    """Intervals of all regions of a host: index of the region, start and end."""

    region: Int64s
    start_ns: Int64s
    stop_ns: Int64s


def regions_of(
    host: Host,
    roots: Collection[int] = (),
    recorded: Sequence[RegionCalls] | None = None,
    *,
    in_place: bool = False,
) -> list[Region]:
    """Regions of a host, in order of name and rank.

    Calls are clipped to the round. One that was only counted adds to ``calls`` and makes time and energy "at least".
    One that was still open when its process died lasted until some moment before that process's end.

    Args:
        host: The host.
        roots: Processes that ended with the run: their open calls lasted until then.
        recorded: The calls that may be of this round; None: all of the host.
        in_place: Whether the program goes on after the round: then a call that does isn't one whose end is unknown.
    """
    recorded = host.recording.regions if recorded is None else recorded
    regions = _regions(host, recorded)
    end_ns = host.run_ns[1] if in_place else host.window_ns[1]
    closed = [process if process.pid in roots else _closed(process, end_ns) for process in recorded]
    if all(process is before for process, before in zip(closed, recorded, strict=True)):
        return regions
    least = {(region.name, region.rank): region for region in _regions(host, closed)}
    return [_from(least.get((region.name, region.rank)), region) for region in regions]


def _closed(process: RegionCalls, end_ns: int) -> RegionCalls:
    """A process's calls, those still open at the run's end as if they had ended at once."""
    is_open = process.stop_ns >= end_ns
    if not is_open.any():
        return process
    return process._replace(stop_ns=np.where(is_open, process.start_ns, process.stop_ns))


def _from(least: Region | None, most: Region) -> Region:
    """A region between what it used without its open calls and what it used with them."""
    if least is None or least.metrics["runtime_s"].value == most.metrics["runtime_s"].value:
        return most
    metrics = {
        name: metric._replace(
            lower=min(least.metrics[name].lower or 0.0, metric.lower or 0.0),
            method="; ".join(filter(None, (metric.method, _OPEN))),
        )
        if metric.value is not None
        else metric
        for name, metric in most.metrics.items()
    }
    return most._replace(metrics=metrics)


def _regions(host: Host, recorded: Sequence[RegionCalls]) -> list[Region]:
    keys, calls = _collect(recorded)
    if not keys:
        return []
    windows = _active(calls, len(keys), host)
    sensors = [sensor for sensor in energy_sensors(host) if sensor.id in host.split.added]
    found = energies(host, sensors, windows)
    duration_s, intervals = windows.duration_s, np.bincount(windows.owner_of_each, minlength=len(keys))
    short_calls = ShortCalls(host.counters[s.id] for s in sensors if s.id in host.counters and s.provenance == MEASURED)
    longest = set(np.argsort(duration_s)[-_MOST_STATISTICAL:].tolist())
    made: list[Region] = []
    for index, (key, (count, lost)) in enumerate(keys.items()):
        if lost and not intervals[index]:
            made.append(only_counted(key, lost))
            continue
        runtime_s = float(duration_s[index])
        parts = {s.id: sensor_energy(s, found[s.id], index, runtime_s) for s in sensors}
        told = short_calls if index in longest else None
        energy = _energy(host, windows, index, parts, told) if runtime_s > 0 else _nothing(host)
        energy, runtime = (_with_lost(metric, lost) for metric in (energy, _runtime(runtime_s)))
        metrics = {"runtime_s": runtime, "energy_j": energy, "power_w": per_second(energy, runtime_s)}
        made.append(Region(key[0], key[1], count + lost, metrics))
    return made


def _energy(
    host: Host, windows: Windows, index: int, parts: Mapping[str, Metric], short_calls: ShortCalls | None
) -> Metric:
    """Energy of a region: as it was counted, or what statistics over its many calls make of that."""
    energy, calls = total_energy(host, parts), windows.of(index)
    counted = total({id_: part for id_, part in parts.items() if id_ in host.counters and _is_measured(part)}, "J", "")
    if short_calls is not None and energy.upper is not None and _is_wide(counted):
        by = short_calls.correction(calls)
        energy = energy if by is None else _corrected(energy, counted, by)
    return labelled(energy, len(calls.a_ns))


def _corrected(energy: Metric, counted: Metric, by: Correction) -> Metric:
    """An energy whose counted part is what statistics say, within what is certain; as it was if they say little."""
    lower, value, upper = (float(end or 0.0) for end in (counted.lower, counted.value, counted.upper))
    told, low, high = (min(max(value + more, lower), upper) for more in (by.value_j, *by.ends_j))
    if not high - low <= WIDE * told:  # so that what isn't a number is no figure either
        return energy
    least, most = float(energy.lower or 0.0), float(energy.upper or 0.0)
    return energy._replace(
        value=float(energy.value or 0.0) + (told - value),
        ci95=(max(least + (low - lower), least), min(most - (upper - high), most)),
        provenance=Provenance.ESTIMATED,
        method="; ".join(filter(None, [energy.method, STATISTICAL])),
    )


def _collect(recorded: Iterable[RegionCalls]) -> tuple[dict[Key, tuple[int, int]], _Calls]:
    """Regions with their calls and lost calls, sorted, and all their intervals."""
    calls: Tally[Key] = Tally()
    lost: Tally[Key] = Tally()
    processes = list(recorded)
    for process in processes:
        keys = [(name, process.rank) for name in process.names]
        rows = np.bincount(process.region, minlength=len(keys))
        entries = np.bincount(process.region[~process.resumed], minlength=len(keys))
        # Of a call that began before the round there are only later steps.
        counts = np.where(rows > 0, np.maximum(entries, 1), 0)
        calls.update({key: int(count) for key, count in zip(keys, counts, strict=True) if key[0] and count})
        lost.update({(name, process.rank): count for name, count in process.lost_calls.items()})
    keys_of_all = sorted(set(calls) | set(lost))
    index = {key: number for number, key in enumerate(keys_of_all)}
    columns = [_intervals(process, index) for process in processes if len(process.region)]
    joined = (
        (np.concatenate(column) for column in zip(*columns, strict=True)) if columns else [np.empty(0, np.int64)] * 3
    )
    return {key: (calls[key], lost[key]) for key in keys_of_all}, _Calls(*joined)


def _intervals(process: RegionCalls, index: dict[Key, int]) -> tuple[Int64s, Int64s, Int64s]:
    numbers = np.array([index.get((name, process.rank), -1) for name in process.names], np.int64)
    return numbers[process.region], process.start_ns, process.stop_ns


def _active(calls: _Calls, regions: int, host: Host) -> Windows:
    """The times in which each region was active: the union of its calls within the round."""
    start_ns, stop_ns = (np.clip(t_ns, *host.window_ns) for t_ns in (calls.start_ns, calls.stop_ns))
    some = (stop_ns > start_ns) & (calls.region >= 0)
    active = union(calls.region[some], start_ns[some], stop_ns[some], regions)
    return active if len(host.windows.a_ns) == 1 else clipped(active, host.windows)


def _runtime(runtime_s: float) -> Metric:
    return Metric(runtime_s, "s", runtime_s, runtime_s, scope=Scope.APPLICATION)


def _nothing(host: Host) -> Metric:
    """Energy of a region that took no time within the run: none, if energy could be had at all."""
    if not any(sensor.id in host.split.added for sensor in energy_sensors(host)):
        return total_energy(host, {})
    return Metric.absent("J", "it took no time within the run" if host.duration_s > 0 else NO_TIME)


def only_counted(key: Key, lost: int) -> Region:
    """A region of which no call was timed."""
    reason = "its calls were only counted: beyond the budget for marks"
    metrics = {
        "runtime_s": Metric.absent("s", reason, Scope.APPLICATION),
        "energy_j": Metric.absent("J", reason),
        "power_w": Metric.absent("W", reason),
    }
    return Region(*key, lost, metrics)


def _with_lost(metric: Metric, lost: int) -> Metric:
    return at_least(metric, f"{lost} calls that were only counted") if lost else metric


def at_least(metric: Metric, lacks: str) -> Metric:
    """A metric without an upper bound, as it lacks some calls."""
    if metric.value is None:
        return metric
    return Metric(
        metric.value,
        metric.unit,
        metric.lower,
        None,
        metric.provenance,
        metric.scope,
        missing=(*metric.missing, lacks),
        reason="; ".join(filter(None, (metric.reason, f"{lacks}: beyond the budget for marks"))),
        method=metric.method,
    )


def labelled(energy: Metric, intervals: int) -> Metric:
    """The energy, saying so where it can't be resolved."""
    if not _is_wide(energy):
        return energy
    text = "too short to be resolved by reads this far apart"
    if intervals > 1:
        text = f"sum of estimates over {intervals} intervals, {text}"
    texts = [*(energy.method or "").split("; "), text]
    return energy._replace(method="; ".join(dict.fromkeys(filter(None, texts))))


def _is_wide(energy: Metric) -> bool:
    """Whether reads don't resolve an energy. A model's own width says nothing about how often was read."""
    if energy.value is None or energy.upper is None or energy.lower is None:
        return False
    return _is_measured(energy) and energy.upper - energy.lower > WIDE * energy.value


def _is_measured(energy: Metric) -> bool:
    return energy.provenance is Provenance.MEASURED
