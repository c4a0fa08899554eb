"""Everything that is said of one host and its devices: metrics of a NODE, and the nodes below it."""

from __future__ import annotations

from collections.abc import Mapping

from perun_like.analysis import attribution, gauges
from perun_like.analysis.energy import energies, energy_sensors, sensor_energy, total_energy
from perun_like.analysis.hosts import Host
from perun_like.analysis.memory import in_place_peak, memory_peak
from perun_like.analysis.rounds import Round
from perun_like.analysis.totals import NO_TIME, counted, exact, per_second, total
from perun_like.analysis.windows import Increase, Windows, increases
from perun_like.model.node import DataNode, Metric, NodeType, Scope
from perun_like.sensing.contract import COUNTER, GAUGE, Sensor
from perun_like.sensing.overlap import is_energy

# Bytes over the run: name of the metric, quantity and group of the counters that add up to it.
TRAFFIC = {
    "disk_read_b": ("disk_read", "disk"),
    "disk_write_b": ("disk_written", "disk"),
    "net_recv_b": ("net_recv", "network"),
    "net_sent_b": ("net_sent", "network"),
}
_NAMES = {quantity: name for name, (quantity, _) in TRAFFIC.items()}
_GROUPS = ("cpu", "dram", "gpu", "platform", "memory", "disk", "network", "application")
_SUFFIXES = {"s": "_s", "B": "_b", "J": "_j", "W": "_w", "Hz": "_hz", "%": "_percent"}


def host_metrics(
    host: Host,
    sensors: Mapping[str, Mapping[str, Metric]],
    of: Round,
    basis: attribution.Basis | str,
) -> dict[str, Metric]:
    """Metrics of a host.

    Args:
        host: The host.
        sensors: Metrics of its sensors, as :func:`sensor_metrics` gives them.
        of: The round, what was of it on this host.
        basis: By what its energy is divided.
    """
    added = {id_: sensors[id_]["energy_j"] for id_ in host.split.added if id_ in sensors}
    energy = total_energy(host, added)
    groups = {f"{group}_energy_j": total_energy(host, added, group) for group in ("cpu", "dram", "gpu")}
    share, rest = attribution.share_of(energy, basis, groups["gpu_energy_j"])
    return {
        "runtime_s": exact(host.duration_s, "s", Scope.APPLICATION),
        "energy_j": energy,
        "power_w": per_second(energy, host.duration_s),
        **groups,
        "energy_share_j": share,
        "energy_rest_j": rest,
        "cpu_util_percent": _cpu_util(host),
        "gpu_util_percent": _gpu(host, "%"),
        "memory_peak_b": _memory_peak(host, of),
        "gpu_memory_peak_b": _gpu(host, "B"),
        **{name: _traffic(host, sensors, name) for name in TRAFFIC},
        "overhead_cpu_s": _own_cost(host, "cpu_s", "s"),
        "missed_ticks": _own_cost(host, "missed_ticks", "1"),
    }


def amounts_of(host: Host, windows: Windows) -> dict[str, Increase]:
    """Energy of each energy sensor, and what each other counter counted, in the windows of each owner."""
    measured = energies(host, energy_sensors(host), windows)
    others = [id_ for id_ in host.counters if id_ not in measured]
    counted = increases((host.counters[id_] for id_ in others), windows)
    return measured | dict(zip(others, counted, strict=True))


def sensor_metrics(host: Host, amounts: Mapping[str, Increase], owner: int) -> dict[str, dict[str, Metric]]:
    """Metrics of each sensor of a host in a round, by sensor id.

    Args:
        host: The host in this round.
        amounts: What :func:`amounts_of` says of all rounds at once.
        owner: Which of them it is.
    """
    measured = {sensor.id for sensor in energy_sensors(host)}
    metrics: dict[str, dict[str, Metric]] = {}
    for sensor in host.sensors:
        metrics[sensor.id] = {}
        if sensor.id in measured:
            energy = sensor_energy(sensor, amounts[sensor.id], owner, host.duration_s)
            metrics[sensor.id] |= _with_power(energy, host)
        elif sensor.kind == COUNTER:
            metrics[sensor.id] |= _counted(host, sensor, amounts[sensor.id], owner)
        if sensor.kind == GAUGE:
            metrics[sensor.id] |= _summarised(host, sensor)
    return metrics


def _with_power(energy: Metric, host: Host) -> dict[str, Metric]:
    if host.duration_s <= 0:
        energy = Metric.absent("J", NO_TIME)
    return {"energy_j": energy, "power_w": per_second(energy, host.duration_s)}


def _name_and_scope(sensor: Sensor) -> tuple[str, Scope]:
    scope = Scope.APPLICATION if sensor.group == "application" else Scope.HOST
    return _NAMES.get(sensor.quantity, sensor.quantity + _SUFFIXES.get(sensor.unit, "")), scope


def _counted(host: Host, sensor: Sensor, increase: Increase, owner: int) -> dict[str, Metric]:
    """Metrics of a counter that isn't one of energy."""
    name, scope = _name_and_scope(sensor)
    if host.duration_s <= 0:
        return {name: Metric.absent(sensor.unit, NO_TIME, scope)}
    return {name: counted(increase, owner, host.duration_s, name=sensor.id, unit=sensor.unit, scope=scope)}


def _summarised(host: Host, sensor: Sensor) -> dict[str, Metric]:
    """Metrics of a gauge."""
    name, scope = _name_and_scope(sensor)
    summary = gauges.summarise(host.gauges[sensor.id], host.windows)
    if summary is None:
        reason = f"{sensor.id}: no successful read"
        return {f"{name}_{which}": Metric.absent(sensor.unit, reason, scope) for which in ("mean", "max")}
    mean = Metric(summary.mean, sensor.unit, summary.lower, summary.upper, scope=scope, method=summary.method)
    largest = Metric(summary.largest, sensor.unit, summary.largest, scope=scope, method="largest read")
    return {f"{name}_mean": mean, f"{name}_max": largest}


def device_groups(
    host: Host, sensors: Mapping[str, Mapping[str, Metric]], metrics: Mapping[str, Metric]
) -> list[DataNode]:
    """The DEVICE_GROUP nodes of a host with their SENSOR nodes.

    Args:
        host: The host.
        sensors: Metrics of its sensors.
        metrics: Its own metrics.
    """
    groups = {sensor.group for sensor in host.sensors}
    ordered = [group for group in _GROUPS if group in groups] + sorted(groups - set(_GROUPS))
    return [
        DataNode(
            id=group,
            type=NodeType.DEVICE_GROUP,
            metrics=_group_metrics(host, group, sensors, metrics),
            nodes=[_sensor_node(host, s, dict(sensors[s.id])) for s in host.sensors if s.group == group],
        )
        for group in ordered
    ]


def _group_metrics(
    host: Host, group: str, sensors: Mapping[str, Mapping[str, Metric]], metrics: Mapping[str, Metric]
) -> dict[str, Metric]:
    """What a group's sensors add up to, and the host's metrics that are about it."""
    added = {s.id: sensors[s.id]["energy_j"] for s in host.sensors if s.group == group and s.id in host.split.added}
    energy = {}
    if added:
        joules = total_energy(host, added, group)
        energy = {"energy_j": joules, "power_w": per_second(joules, host.duration_s)}
    about = {"cpu": ["cpu_util_percent"], "application": ["memory_peak_b"]}.get(group, [])
    about += [name for name, (_, of) in TRAFFIC.items() if of == group]
    return energy | {name: metrics[name] for name in about}


def _sensor_node(host: Host, sensor: Sensor, metrics: dict[str, Metric]) -> DataNode:
    stream = next(stream for stream in host.recording.streams if sensor in stream.sensors)
    valid = stream.valid[stream.sensors.index(sensor), host.sweeps(stream)]
    facts = {
        "backend": sensor.backend,
        "quantity": sensor.quantity,
        "source": sensor.source,
        "accuracy": sensor.accuracy,
        "provenance": sensor.provenance,
        "domain": sensor.domain,
        "identity": sensor.identity,
        "model": dict(sensor.model),
        "mean_over_ns": sensor.window_ns or None,
        "period_ns": stream.period_ns,
        "apart_ns": stream.apart_ns or None,
        "read_by_rank": stream.rank,
        "reads": len(valid),
        "failed_reads": int(len(valid) - valid.sum()),
    }
    if is_energy(sensor):
        facts["added"] = sensor.id in host.split.added
        facts["not_added"] = host.split.not_added.get(sensor.id)
    return DataNode(
        sensor.id, NodeType.SENSOR, metrics, metadata={k: v for k, v in facts.items() if v not in (None, {})}
    )


def _memory_peak(host: Host, of: Round) -> Metric:
    if of.calls is None:
        return memory_peak(host, of.processes)
    return in_place_peak(host, of.calls, len(of.processes))


def _cpu_util(host: Host) -> Metric:
    busy_s = attribution.busy_seconds(host)
    capacity_s = (host.logical_cpus or 0) * host.duration_s
    if busy_s is None:
        seldom = " throughout" if host.readings.last_value(attribution.CPU_BUSY) else ""
        otherwise = f"the host's CPU time was not read{seldom}"
        return Metric.absent("%", NO_TIME if host.duration_s <= 0 else why_missing(host, "cpu_busy", otherwise))
    lower, value, upper = (100 * bound / capacity_s for bound in busy_s)
    return Metric(value, "%", lower, upper)


def _gpu(host: Host, unit: str) -> Metric:
    """Mean load of the GPUs, or the sum of their largest memory."""
    word = "util" if unit == "%" else "memory_used"
    chosen = [
        s
        for s in host.sensors
        if s.group == "gpu" and s.unit == unit and word in s.quantity and s.id in host.gauges and not s.outside
    ]
    found = [gauges.summarise(host.gauges[s.id], host.windows) for s in chosen]
    known = [summary for summary in found if summary is not None]
    if not known:
        return Metric.absent(unit, why_missing(host, "gpu", "no GPU was found"))
    if unit == "%":
        return Metric(sum(s.mean for s in known) / len(known), unit, method=gauges.METHOD)
    largest = sum(s.largest for s in known)
    return Metric(largest, unit, max(s.largest for s in known), method="sum of each GPU's largest read")


def _traffic(host: Host, sensors: Mapping[str, Mapping[str, Metric]], name: str) -> Metric:
    quantity, group = TRAFFIC[name]
    parts = {s.id: sensors[s.id][name] for s in host.of_quantity(quantity, group)}
    return total(parts, "B", why_missing(host, quantity, f"no {group} counter was read"))


def why_missing(host: Host, word: str, otherwise: str) -> str:
    """Why a quantity is missing: the reason recorded for something named so, or else what is known."""
    for entry in host.recording.missing:
        if word in f"{entry.backend} {entry.what}".lower() or entry.what == "all sensors":
            return f"{entry.reason}. {entry.remedy}" if entry.remedy else entry.reason
    return host.recording.cut or otherwise


def _own_cost(host: Host, key: str, unit: str) -> Metric:
    if host.rounds > 1:
        return Metric.absent(unit, "the sampler reads through all rounds: see their MULTI_RUN", Scope.SAMPLER)
    return own_cost(host, key, unit)


def own_cost(host: Host, key: str, unit: str) -> Metric:
    """What reading cost on a host, in all rounds together."""
    figure = host.recording.stats.get(key)
    if figure is None:
        return Metric.absent(unit, host.recording.cut or "the sampler left no account of itself", Scope.SAMPLER)
    return exact(figure, unit, Scope.SAMPLER)
