"""From a recording to the result: the tree APP > MULTI_RUN > RUN > NODE > DEVICE_GROUP > SENSOR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

from perun_like.analysis.emissions import Assumptions, co2e, cost, intensity
from perun_like.analysis.host_metrics import device_groups, host_metrics, sensor_metrics
from perun_like.analysis.hosts import Host, hosts_of
from perun_like.analysis.regions import regions_of
from perun_like.analysis.totals import exact, per_second, scaled, total
from perun_like.model.node import DataNode, Metric, NodeType, Scope
from perun_like.model.recording import Process, Recording
from perun_like.sensing.overlap import is_energy

_NO_HOST = "no host was recorded"
# Metrics that are means over hosts, weighted by what each host has of it.
_MEANS = {"cpu_util_percent": "logical_cpus", "gpu_util_percent": None}
_UNITS = {
    "energy_j": "J", "cpu_energy_j": "J", "dram_energy_j": "J", "gpu_energy_j": "J", "energy_share_j": "J",
    "energy_rest_j": "J", "cpu_util_percent": "%", "gpu_util_percent": "%", "memory_peak_b": "B",
    "gpu_memory_peak_b": "B", "disk_read_b": "B", "disk_write_b": "B", "net_recv_b": "B", "net_sent_b": "B",
    "overhead_cpu_s": "s", "missed_ticks": "1",
}  # fmt: skip


def analyse(recording: Recording, assumptions: Assumptions) -> DataNode:
    """The result of a run.

    Args:
        recording: What was recorded, of one host or many.
        assumptions: Place, PUE and price of the electricity.

    Returns:
        The APP node. Every metric of the RUN is present; what couldn't be had is missing, with the reason.
    """
    hosts = hosts_of(recording)
    nodes = [_node(host, _processes_on(host, recording, alone=len(hosts) == 1)) for host in hosts]
    run = DataNode(
        id="0",
        type=NodeType.RUN,
        metrics=_run_metrics(recording, nodes, assumptions),
        nodes=nodes,
        metadata=_run_metadata(recording, assumptions),
        regions=[region for host in hosts for region in regions_of(host, [p.pid for p in recording.processes])],
    )
    rounds = DataNode(recording.run_id, NodeType.MULTI_RUN, _over_one_round(run.metrics), [run])
    return DataNode(recording.name, NodeType.APP, _over_one_round(run.metrics), [rounds])


def _node(host: Host, processes: list[Process]) -> DataNode:
    sensors = sensor_metrics(host)
    metrics = host_metrics(host, sensors, processes)
    facts: dict[str, Any] = dict(host.recording.host)
    facts["missing"] = [entry._asdict() for entry in host.recording.missing if not entry.quiet]
    facts["stats"] = dict(host.recording.stats)
    if host.recording.cut:
        facts["cut"] = host.recording.cut
    return DataNode(host.name, NodeType.NODE, metrics, device_groups(host, sensors, metrics), facts)


def _processes_on(host: Host, recording: Recording, *, alone: bool) -> list[Process]:
    """The application's processes on a host: all on the only one, else those known by the marks of their regions."""
    if alone:
        return list(recording.processes)
    ranks = {calls.rank for calls in host.recording.regions}
    return [process for process in recording.processes if process.rank in ranks]


def _run_metrics(recording: Recording, nodes: Sequence[DataNode], assumptions: Assumptions) -> dict[str, Metric]:
    duration_s = (recording.window_ns[1] - recording.window_ns[0]) / 1e9
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


def _energy_period(recording: Recording) -> dict[str, int]:
    """How often energy was really read, which may be less often than asked for: the slowest of its streams."""
    streams = [stream for host in recording.hosts for stream in host.streams]
    periods = [stream.period_ns for stream in streams if any(is_energy(sensor) for sensor in stream.sensors)]
    return {"period_ns": max(periods)} if periods else {}


def _run_metadata(recording: Recording, assumptions: Assumptions) -> dict[str, Any]:
    started = datetime.fromtimestamp(recording.started_unix_ns / 1e9, timezone.utc)
    exit_code, signal = _fate(recording.processes)
    return {
        **recording.metadata,
        **_energy_period(recording),
        "exit_code": exit_code,
        "signal": signal,
        "started": started.isoformat(timespec="milliseconds"),
        "started_unix_ns": recording.started_unix_ns,
        "window_ns": list(recording.window_ns),
        "processes": [asdict(process) for process in recording.processes],
        "assumptions": {**asdict(assumptions), "intensity": intensity(assumptions)._asdict()},
    }


def _fate(processes: Sequence[Process]) -> tuple[int | None, int | None]:
    """Exit code and signal of the first rank that failed; of the first rank if none did."""
    ordered = sorted(processes, key=lambda process: process.rank)
    failed = [process for process in ordered if process.signal is not None or process.exit_code not in (0, None)]
    for process in failed or ordered:
        return process.exit_code, process.signal
    return None, None
