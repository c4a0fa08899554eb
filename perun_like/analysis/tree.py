"""From a recording to the result: the tree APP > MULTI_RUN > RUN > NODE > DEVICE_GROUP > SENSOR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perun_like.analysis.attribution import basis_of
from perun_like.analysis.balance import balance_of
from perun_like.analysis.emissions import Assumptions, co2e, cost
from perun_like.analysis.facts import is_job, lacking, rounds_metadata, run_metadata
from perun_like.analysis.host_metrics import amounts_of, device_groups, host_metrics, own_cost, sensor_metrics
from perun_like.analysis.hosts import Host, hosts_of
from perun_like.analysis.intervals import of_first
from perun_like.analysis.overall import over_all
from perun_like.analysis.ranks import ranks_elsewhere, ranks_on
from perun_like.analysis.round_regions import lost_calls, mean_regions, regions_in
from perun_like.analysis.rounds import Round, Timeline, timeline_of
from perun_like.analysis.statistics import mean_of
from perun_like.analysis.together import parts_within, together
from perun_like.analysis.totals import exact, per_second, scaled, total
from perun_like.analysis.windows import Increase
from perun_like.model.node import DataNode, Metric, NodeType, Rank, Scope
from perun_like.model.recording import Recording

MOST_RUNS = 100  # rounds with a node of their own: of a server with 20 sensors each takes 3 ms and 17 kB
_NO_HOST = "no host was recorded"
# Metrics that are means over hosts, weighted by what each host has of it.
_MEANS = {"cpu_util_percent": "logical_cpus", "gpu_util_percent": None}
_UNITS = {
    "energy_j": "J", "cpu_energy_j": "J", "dram_energy_j": "J", "gpu_energy_j": "J", "energy_share_j": "J",
    "energy_rest_j": "J", "cpu_util_percent": "%", "gpu_util_percent": "%", "memory_peak_b": "B",
    "gpu_memory_peak_b": "B", "disk_read_b": "B", "disk_write_b": "B", "net_recv_b": "B", "net_sent_b": "B",
    "overhead_cpu_s": "s", "missed_ticks": "1",
}  # fmt: skip
_FEWEST_RUNS = 2  # of many hosts
_OWN = ("overhead_cpu_s", "missed_ticks")  # of the sampler, which reads through all rounds


def analyse(recording: Recording, assumptions: Assumptions) -> DataNode:
    """The result of a run.

    Args:
        recording: What was recorded, of one host or many.
        assumptions: Place, PUE and price of the electricity.

    Returns:
        The APP node. Every metric of a RUN is present; what couldn't be had is missing, with the reason. Of many
        rounds only the first have a RUN; those of time and energy at the MULTI_RUN concern all of them.
    """
    hosts = hosts_of(recording)
    timeline = timeline_of(recording, hosts)
    rounds, most = timeline.windows.owners, _most_runs(len(hosts))
    parts = [_Part.of(host, timeline.on(host), most) for host in hosts]
    runs = [_run(recording, parts, timeline.round(k), assumptions) for k in range(min(rounds, most))]
    several = DataNode(recording.run_id, NodeType.MULTI_RUN, nodes=runs, metadata=rounds_metadata(recording, timeline))
    if rounds == 1:
        several.metrics = over_one_round(runs[0].metrics)
    else:
        whose = f"{rounds} rounds" if rounds <= most else f"the first {most} of {rounds:,} rounds"
        several.metrics = _over_rounds(recording, parts, timeline, runs, whose, assumptions)
        lost = lost_calls(hosts) if timeline.ranks else {}
        several.regions = mean_regions([run.regions for run in runs], lost, whose)
        several.balance = balance_of(several.regions) if is_job(recording) else []
    return DataNode(recording.name, NodeType.APP, dict(several.metrics), [several])


def _most_runs(hosts: int) -> int:
    return MOST_RUNS if hosts < 2 else max(MOST_RUNS // hosts, _FEWEST_RUNS)


class _Part(NamedTuple):
    """A host, when its own ranks were in each round, and what its counters counted in those with a node."""

    host: Host
    timeline: Timeline
    amounts: Mapping[str, Increase]

    @classmethod
    def of(cls, host: Host, timeline: Timeline, most: int) -> _Part:
        return cls(host, timeline, amounts_of(host, of_first(timeline.windows, most).later(host.shift_ns)))


def _run(recording: Recording, parts: Sequence[_Part], of: Round, assumptions: Assumptions) -> DataNode:
    """A round."""
    run = DataNode(str(of.number), NodeType.RUN, metadata=run_metadata(recording, of, assumptions))
    job = is_job(recording)
    for part in parts:
        own = part.timeline.round(of.number)
        if not len(own.windows.a_ns):  # no rank of this host had a part in it
            continue
        host = own.on(part.host)
        node, ranks = _node(host, part.amounts, own, job=job)
        run.nodes.append(node)
        run.ranks += ranks
        run.regions += regions_in(host, own)
    run.metrics = run_metrics(of.duration_s, run.nodes, assumptions, lacking(recording, of))
    if job:
        seen = {rank.rank for rank in run.ranks}
        others = [] if of.calls is not None else [process for process in of.processes if process.rank not in seen]
        run.ranks = sorted(run.ranks + ranks_elsewhere(others), key=lambda rank: rank.rank)
        run.balance = balance_of(run.regions)
    return run


def _node(host: Host, amounts: Mapping[str, Increase], of: Round, *, job: bool) -> tuple[DataNode, list[Rank]]:
    """A host in a round, and the ranks on it, if there are several in all."""
    sensors = sensor_metrics(host, amounts, of.number)
    basis = basis_of(host, of.processes, of.calls)
    metrics = host_metrics(host, sensors, of, basis)
    node = DataNode(host.name, NodeType.NODE, metrics, device_groups(host, sensors, metrics), _node_metadata(host))
    return node, ranks_on(host, of, metrics, basis) if job else []


def _node_metadata(host: Host) -> dict[str, Any]:
    facts: dict[str, Any] = dict(host.recording.host)
    facts["missing"] = [entry._asdict() for entry in host.recording.missing if not entry.quiet]
    facts["stats"] = dict(host.recording.stats)
    apart_ns = max((stream.apart_ns for stream in host.recording.streams), default=0)
    if apart_ns:
        facts["apart_ns"] = apart_ns
    if host.recording.cut:
        facts["cut"] = host.recording.cut
        facts["cut_unix_ns"] = host.last_read_unix_ns
    if not host.alone:
        facts.setdefault("clock_error_s", host.clock_error_s)
        facts["clock_step_s"] = host.clock_step_s
    return facts


def run_metrics(
    duration_s: float,
    nodes: Sequence[DataNode],
    assumptions: Assumptions,
    also_missing: Mapping[str, str] | None = None,
) -> dict[str, Metric]:
    """Metrics of a RUN.

    Args:
        duration_s: From the beginning of the first rank to the end of the last.
        nodes: Its NODEs.
        assumptions: Place, PUE and price of the electricity.
        also_missing: What sums over hosts lack beside what these lack, with reasons.
    """
    sums = {name: _over_hosts(name, unit, nodes) for name, unit in _UNITS.items()}
    if also_missing:
        sums |= {name: _at_least(sums[name], also_missing) for name in sums if name not in (*_MEANS, *_OWN)}
    energy = sums.pop("energy_j")
    return {
        "runtime_s": exact(duration_s, "s", Scope.APPLICATION),
        "energy_j": energy,
        "power_w": per_second(energy, duration_s),
        **sums,
        "co2e_kg": co2e(energy, assumptions),
        "cost": cost(energy, assumptions),
    }


def _at_least(metric: Metric, lacks: Mapping[str, str]) -> Metric:
    """A sum that lacks something it doesn't know of."""
    if metric.value is None:
        return metric
    why = "; ".join(dict.fromkeys(filter(None, (metric.reason, *lacks.values()))))
    return metric._replace(upper=None, missing=(*metric.missing, *lacks), reason=why)


def _over_hosts(name: str, unit: str, nodes: Sequence[DataNode]) -> Metric:
    """A metric of all hosts together."""
    if len(nodes) == 1:
        return nodes[0].metrics[name]
    parts = {node.id: node.metrics[name] for node in nodes}
    if name in _MEANS:
        return _mean(parts, unit, [node.metadata.get(_MEANS[name] or "", 1) or 1 for node in nodes])
    whole = total(parts, unit, _NO_HOST)
    if name in ("memory_peak_b", "gpu_memory_peak_b") and whole.value is not None:
        # The hosts needn't have reached their peaks at the same time.
        lower = max(part.lower or 0 for part in parts.values())
        return whole._replace(lower=lower, method="sum of the hosts' peaks")
    return whole


def _mean(parts: Mapping[str, Metric], unit: str, weights: Sequence[float]) -> Metric:
    """Weighted mean over the hosts that have the metric."""
    known = {
        name: (part, weight)
        for (name, part), weight in zip(parts.items(), weights, strict=True)
        if part.value is not None
    }
    weight_of_all = sum(weight for _, weight in known.values())
    shares = {name: scaled(part, weight / weight_of_all, unit) for name, (part, weight) in known.items()}
    reason = next((part.reason for part in parts.values() if part.reason), _NO_HOST)
    return total(shares, unit, reason)


def over_one_round(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Metrics over the rounds of a run that had only one."""
    return {
        name: metric if metric.value is None else metric._replace(mean=float(metric.value), n=1)
        for name, metric in metrics.items()
    }


def _over_rounds(
    recording: Recording,
    parts: Sequence[_Part],
    timeline: Timeline,
    runs: Sequence[DataNode],
    whose: str,
    assumptions: Assumptions,
) -> dict[str, Metric]:
    """Means over the rounds; what reading cost is that of all of them together."""
    means = {name: mean_of([run.metrics[name] for run in runs], whose) for name in runs[0].metrics}
    own = {name: _own([part.host for part in parts], name) for name in _OWN}
    windows = [(part.host, part.timeline.windows) for part in parts]
    first = [(host, of_first(each, len(runs))) for host, each in windows]
    means |= parts_within(means, together(first, of_first(timeline.windows, len(runs))), len(runs))
    overall = over_all(windows, timeline.windows, assumptions)
    lacks = {name: why for run in range(len(runs)) for name, why in lacking(recording, timeline.round(run)).items()}
    if lacks:
        overall |= {name: _at_least(metric, lacks) for name, metric in overall.items() if name != "runtime_s"}
    return means | overall | own


def _own(hosts: Sequence[Host], name: str) -> Metric:
    key = {"overhead_cpu_s": "cpu_s"}.get(name, name)
    parts = {host.name: own_cost(host, key, _UNITS[name]) for host in hosts}
    return total(parts, _UNITS[name], _NO_HOST)._replace(method="of all rounds together")
