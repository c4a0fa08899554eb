"""From a recording to the result: the tree APP > MULTI_RUN > RUN > NODE > DEVICE_GROUP > SENSOR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

from perun_like.analysis.emissions import Assumptions, co2e, cost, intensity
from perun_like.analysis.host_metrics import amounts_of, device_groups, host_metrics, own_cost, sensor_metrics
from perun_like.analysis.hosts import Host, hosts_of
from perun_like.analysis.intervals import of_first
from perun_like.analysis.overall import over_all
from perun_like.analysis.round_regions import lost_calls, mean_regions, regions_in
from perun_like.analysis.rounds import Round, Timeline, timeline_of
from perun_like.analysis.statistics import mean_of
from perun_like.analysis.totals import exact, per_second, scaled, total
from perun_like.analysis.windows import Increase
from perun_like.model.node import DataNode, Metric, NodeType, Scope
from perun_like.model.recording import Process, Recording
from perun_like.sensing.overlap import is_energy

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
    rounds = timeline.windows.owners
    first = of_first(timeline.windows, MOST_RUNS)
    amounts = [amounts_of(host, first.later(host.shift_ns)) for host in hosts]
    runs = [_run(recording, hosts, amounts, timeline.round(k), assumptions) for k in range(first.owners)]
    several = DataNode(recording.run_id, NodeType.MULTI_RUN, nodes=runs, metadata=_rounds_metadata(recording, timeline))
    if rounds == 1:
        several.metrics = _over_one_round(runs[0].metrics)
    else:
        whose = f"{rounds} rounds" if rounds <= MOST_RUNS else f"the first {MOST_RUNS} of {rounds:,} rounds"
        several.metrics = _over_rounds(hosts, timeline, runs, whose, assumptions)
        several.regions = mean_regions(
            [run.regions for run in runs], lost_calls(hosts) if timeline.ranks else {}, whose
        )
    return DataNode(recording.name, NodeType.APP, dict(several.metrics), [several])


def _run(
    recording: Recording,
    hosts: Sequence[Host],
    amounts: Sequence[Mapping[str, Increase]],
    of: Round,
    assumptions: Assumptions,
) -> DataNode:
    """A round; ``amounts`` are those of all rounds on each host."""
    parts = [of.on(host) for host in hosts]
    nodes = [_node(part, each, of, alone=len(hosts) == 1) for part, each in zip(parts, amounts, strict=True)]
    return DataNode(
        id=str(of.number),
        type=NodeType.RUN,
        metrics=_run_metrics(of.duration_s, nodes, assumptions),
        nodes=nodes,
        metadata=_run_metadata(recording, of, assumptions),
        regions=[region for part in parts for region in regions_in(part, of)],
    )


def _node(host: Host, amounts: Mapping[str, Increase], of: Round, *, alone: bool) -> DataNode:
    sensors = sensor_metrics(host, amounts, of.number)
    ranks = None if alone else _ranks(host)
    processes = [process for process in of.processes if ranks is None or process.rank in ranks]
    calls = None if of.calls is None else [call for call in of.calls if ranks is None or call.rank in ranks]
    metrics = host_metrics(host, sensors, processes, calls)
    facts: dict[str, Any] = dict(host.recording.host)
    facts["missing"] = [entry._asdict() for entry in host.recording.missing if not entry.quiet]
    facts["stats"] = dict(host.recording.stats)
    if host.recording.cut:
        facts["cut"] = host.recording.cut
    return DataNode(host.name, NodeType.NODE, metrics, device_groups(host, sensors, metrics), facts)


def _ranks(host: Host) -> set[int]:
    """The ranks on a host, where there are several: those known by their marks."""
    return {calls.rank for calls in host.recording.regions} | {rounds.rank for rounds in host.recording.rounds}


def _run_metrics(duration_s: float, nodes: Sequence[DataNode], assumptions: Assumptions) -> dict[str, Metric]:
    sums = {name: _over_hosts(name, unit, nodes) for name, unit in _UNITS.items()}
    return {
        "runtime_s": exact(duration_s, "s", Scope.APPLICATION),
        "energy_j": sums.pop("energy_j"),
        "power_w": per_second(_over_hosts("energy_j", "J", nodes), duration_s),
        **sums,
        "co2e_kg": co2e(_over_hosts("energy_j", "J", nodes), assumptions),
        "cost": cost(_over_hosts("energy_j", "J", nodes), assumptions),
    }


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
        return replace(whole, lower=lower, method="sum of the hosts' peaks")
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


def _over_one_round(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Metrics over the rounds of a run that had only one."""
    return {
        name: metric if metric.value is None else replace(metric, mean=float(metric.value), n=1)
        for name, metric in metrics.items()
    }


def _over_rounds(
    hosts: Sequence[Host], timeline: Timeline, runs: Sequence[DataNode], whose: str, assumptions: Assumptions
) -> dict[str, Metric]:
    """Means over the rounds; what reading cost is that of all of them together."""
    means = {name: mean_of([run.metrics[name] for run in runs], whose) for name in runs[0].metrics}
    own = {name: _own(hosts, name) for name in _OWN}
    return means | over_all(hosts, timeline.windows, assumptions) | own


def _own(hosts: Sequence[Host], name: str) -> Metric:
    key = {"overhead_cpu_s": "cpu_s"}.get(name, name)
    parts = {host.name: own_cost(host, key, _UNITS[name]) for host in hosts}
    return replace(total(parts, _UNITS[name], _NO_HOST), method="of all rounds together")


def _energy_period(recording: Recording) -> dict[str, int]:
    """How often energy was really read, which may be less often than asked for: the slowest of its streams."""
    streams = [stream for host in recording.hosts for stream in host.streams]
    periods = [stream.period_ns for stream in streams if any(is_energy(sensor) for sensor in stream.sensors)]
    return {"period_ns": max(periods)} if periods else {}


def _rounds_metadata(recording: Recording, timeline: Timeline) -> dict[str, Any]:
    """How many rounds there were, those included of which nothing but their number is known, and how many failed."""
    facts: dict[str, Any] = {"rounds": timeline.windows.owners + timeline.lost, "failed": timeline.failed}
    if timeline.lost:
        facts["only_counted"] = timeline.lost
    warmup = (recording.metadata.get("settings") or {}).get("warmup")
    return {**facts, "warmup": warmup} if warmup is not None else facts


def _run_metadata(recording: Recording, of: Round, assumptions: Assumptions) -> dict[str, Any]:
    a_ns, b_ns = of.window_ns
    started_unix_ns = recording.started_unix_ns + a_ns - recording.window_ns[0]
    started = datetime.fromtimestamp(started_unix_ns / 1e9, timezone.utc)
    return {
        **recording.metadata,
        **_energy_period(recording),
        **_fate(of),
        "started": started.isoformat(timespec="milliseconds"),
        "started_unix_ns": started_unix_ns,
        "window_ns": [a_ns, b_ns],
        "processes": [asdict(process) for process in of.processes],
        "assumptions": {**asdict(assumptions), "intensity": intensity(assumptions)._asdict()},
    }


def _fate(of: Round) -> dict[str, Any]:
    """Exit code and signal of the first rank that failed, of the first rank if none did; nobody saw those of calls."""
    if of.calls is not None:
        return {"exit_code": None, "signal": None, "in_place": True, "failed": of.failed}
    ordered = sorted(of.processes, key=lambda process: process.rank)
    failed = [process for process in ordered if process.signal is not None or process.exit_code not in (0, None)]
    first = next(iter(failed or ordered), Process(0, 0, 0, 0))
    return {"exit_code": first.exit_code, "signal": first.signal}
