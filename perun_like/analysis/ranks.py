"""What each rank of a job used: time, CPU time, memory, and its part of its host's energy.

A rank's share is to its CPU time as the program's share of its host is to that of all ranks on it, and its bounds are
those of :mod:`perun_like.analysis.attribution` with its own CPU time in place of the program's. Nothing that is
measured says which rank used which of the host's GPUs: they are divided equally, with bounds of nothing and all.
Shares are whole multiples of the last binary digit of their sum, so that they make the program's share of the host
exactly, in whatever order they are added; that and "idle and others" make the host's energy exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from perun_like.analysis.attribution import METHOD, UNASKED, UNENDED, Basis, Bounds, fractions, gpu_energy, part_of
from perun_like.analysis.hosts import Host
from perun_like.analysis.memory import call_peak, rank_peak
from perun_like.analysis.rounds import Call, Round
from perun_like.analysis.totals import exact
from perun_like.model.node import Metric, Rank, Scope
from perun_like.model.recording import Process

_EQUALLY = "GPUs of the host divided equally among its ranks: their bounds give it none or all of them"
_NO_HOST = "nothing of its host was recorded"


class _Known(NamedTuple):
    """What is known of a rank in a round before its host's energy is divided."""

    rank: int
    runtime_s: float
    cpu_s: float | None
    memory: Metric
    fate: dict[str, Any]


def ranks_on(host: Host, of: Round, metrics: Mapping[str, Metric], basis: Basis | str) -> list[Rank]:
    """The ranks on a host in a round, in order.

    Args:
        host: The host in this round.
        of: The round, what was of it on this host.
        metrics: The host's.
        basis: By what its energy was divided.
    """
    known = list(_known(host, of))
    shares = shares_of(metrics, basis, [each.cpu_s for each in known])
    return [_rank(each, host.name, share) for each, share in zip(known, shares, strict=True)]


def ranks_elsewhere(processes: Sequence[Process]) -> list[Rank]:
    """Ranks of whose hosts nothing was recorded, in order."""
    absent = Metric.absent("J", _NO_HOST, Scope.APPLICATION)
    return [_rank(_of_processes(None, those, 0), "", absent) for those in _by_rank(processes)]


def _rank(known: _Known, host: str, share: Metric) -> Rank:
    why = "the rank's end was not recorded, which tells its CPU time"
    if "failed" in known.fate:
        why = UNENDED if "unended" in known.fate else UNASKED
    scope = Scope.APPLICATION
    metrics = {
        "runtime_s": exact(known.runtime_s, "s", scope),
        "cpu_s": Metric.absent("s", why, scope) if known.cpu_s is None else exact(known.cpu_s, "s", scope),
        "energy_share_j": share,
        "memory_peak_b": known.memory,
    }
    return Rank(known.rank, host, metrics, known.fate)


def _known(host: Host, of: Round) -> Iterator[_Known]:
    if of.calls is not None:
        for call in sorted(of.calls, key=lambda call: call.rank):
            yield _of_call(host, call, len(of.processes))
        return
    for those in _by_rank(of.processes):
        yield _of_processes(host, those, len(of.processes))


def _by_rank(processes: Sequence[Process]) -> list[list[Process]]:
    ranks: dict[int, list[Process]] = {}
    for process in sorted(processes, key=lambda process: process.rank):
        ranks.setdefault(process.rank, []).append(process)
    return list(ranks.values())


def _of_call(host: Host, call: Call, processes: int) -> _Known:
    fate = {"exit_code": None, "signal": None, "failed": call.failed, **({"unended": True} if call.unended else {})}
    runtime_s = float(call.windows.duration_s[0])
    return _Known(call.rank, runtime_s, call.cpu_s, call_peak(host, call, processes), fate)


def _of_processes(host: Host | None, those: Sequence[Process], processes: int) -> _Known:
    told = [process.cpu_s for process in those]
    cpu_s = None if None in told else math.fsum(seconds for seconds in told if seconds is not None)
    runtime_ns = max(process.stop_ns for process in those) - min(process.start_ns for process in those)
    last = failed_first(those) or those[-1]
    fate: dict[str, Any] = {"exit_code": last.exit_code, "signal": last.signal}
    if last.gpus is not None:
        fate["gpus"] = list(last.gpus)
    return _Known(those[0].rank, runtime_ns / 1e9, cpu_s, rank_peak(host, those, processes), fate)


def failed_first(processes: Sequence[Process]) -> Process | None:
    """The process that failed before all others did, which a launcher then ends; None if none failed."""
    failed = [process for process in processes if process.signal is not None or process.exit_code not in (0, None)]
    return min(failed, key=lambda process: (process.stop_ns, process.rank), default=None)


def shares_of(metrics: Mapping[str, Metric], basis: Basis | str, cpu_s: Sequence[float | None]) -> list[Metric]:
    """Each rank's part of its host's energy.

    Args:
        metrics: The host's; ``energy_j``, ``gpu_energy_j`` and ``energy_share_j`` are looked at.
        basis: By what its energy was divided.
        cpu_s: CPU time of each rank; None where it isn't known.
    """
    share, ranks = metrics["energy_share_j"], len(cpu_s)
    if share.value is None or isinstance(basis, str):
        return [Metric.absent("J", share.reason or str(basis), Scope.APPLICATION)] * ranks
    gpu = gpu_energy(metrics["gpu_energy_j"])
    values = _values(float(share.value), min(gpu.value, float(share.value)), basis.cpu_s.value, cpu_s)
    surplus_s = max(basis.cpu_s.upper - math.fsum(filter(None, cpu_s)), 0.0)
    return [
        _share(metrics["energy_j"], gpu if ranks > 1 else gpu._replace(lower=0.0), basis, own_s, surplus_s, value)
        for own_s, value in zip(cpu_s, values, strict=True)
    ]


def _share(
    energy: Metric, gpu: Bounds, basis: Basis, own_s: float | None, surplus_s: float, value: float | None
) -> Metric:
    """A rank's share: beside its own CPU time, what no rank accounts for may be its too."""
    if own_s is None or value is None:
        return Metric.absent("J", "the rank's CPU time is not known", Scope.APPLICATION)
    low, _, high = fractions(basis._replace(cpu_s=Bounds(own_s, own_s, own_s + surplus_s)))
    lower = max((energy.lower or 0.0) - gpu.lower, 0.0) * low
    upper = 0.0 if energy.upper is None else max(energy.upper - gpu.upper, 0.0) * high + gpu.upper
    method = f"{METHOD}; {_EQUALLY}" if gpu.value else METHOD
    return part_of(energy, Bounds(lower, value, upper), energy.upper is not None, Scope.APPLICATION, method)


def _values(share_j: float, gpu_j: float, all_s: float, cpu_s: Sequence[float | None]) -> list[float | None]:
    known = [seconds for seconds in cpu_s if seconds is not None]
    ranks, rest_j = len(cpu_s), share_j - gpu_j
    if len(known) < ranks:  # the others' part isn't known: these have what they would have beside it
        return [
            None if seconds is None else gpu_j / ranks + (rest_j * seconds / all_s if all_s else 0.0)
            for seconds in cpu_s
        ]
    sum_s = math.fsum(known)
    parts = [rest_j * (seconds / sum_s if sum_s else 1 / ranks) + gpu_j / ranks for seconds in known]
    return list(divided(share_j, parts))


def divided(whole: float, weights: Sequence[float]) -> list[float]:
    """A figure in parts that add up to it exactly, whatever the order.

    Args:
        whole: Not negative.
        weights: At least one, none negative; what the parts are proportional to, to the last binary digit of the whole.
    """
    unit, of_all = math.ulp(whole), math.fsum(weights)
    count = whole / unit  # a whole number below 2 ** 53
    units = [math.floor(weight / of_all * count) if of_all else 0 for weight in weights]
    largest = max(range(len(weights)), key=weights.__getitem__)
    units[largest] += round(count) - sum(units)
    return [number * unit for number in units]
