"""Energy of a host's devices: each sensor's, and the sums that DESIGN allows, over one window or many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perun_like.analysis import estimates, integrals
from perun_like.analysis.hosts import Host
from perun_like.analysis.totals import NO_TIME, counted, total
from perun_like.analysis.windows import Increase, Windows, increases
from perun_like.model.node import Metric, Provenance
from perun_like.sensing.contract import ADDED_DOMAINS, ESTIMATED, GAUGE, Missing, Sensor
from perun_like.sensing.overlap import is_energy

# The device groups of the domains that a total is made of.
_GROUPS = dict(zip(ADDED_DOMAINS, ("cpu", "dram", "gpu"), strict=True))


def energy_sensors(host: Host) -> list[Sensor]:
    """Sensors of energy, those that a total adds and those that it doesn't."""
    return [s for s in host.sensors if is_energy(s) and (s.id in host.counters or s.id in host.gauges)]


def energies(host: Host, sensors: Iterable[Sensor], windows: Windows) -> dict[str, Increase]:
    """Energy of each sensor in the windows of each owner, in joules, by sensor id.

    Args:
        host: Where they were read.
        sensors: Energy sensors, measured and estimated ones.
        windows: On the host's clock.
    """
    wanted = list(sensors)
    counted = [sensor for sensor in wanted if sensor.id in host.counters]
    found = increases((host.counters[sensor.id] for sensor in counted), windows)
    known = {sensor.id: increase for sensor, increase in zip(counted, found, strict=True)}
    known |= {s.id: integrals.energy(host.curves[s.id], windows) for s in wanted if s.id not in known}
    return {sensor.id: _modelled(sensor, known[sensor.id], windows) for sensor in wanted}


def _modelled(sensor: Sensor, increase: Increase, windows: Windows) -> Increase:
    """What a sensor stands for: what it counted, or what its model makes of that."""
    if estimates.is_estimate(sensor):
        return estimates.energy(sensor, increase, windows)
    return estimates.part_of_whole(sensor, increase) if estimates.is_share(sensor) else increase


def sensor_energy(sensor: Sensor, increase: Increase, owner: int, duration_s: float) -> Metric:
    """Energy of one sensor in one owner's windows as a metric."""
    estimated = sensor.provenance == ESTIMATED
    return counted(
        increase,
        owner,
        duration_s,
        name=sensor.id,
        unit="J",
        provenance=Provenance.ESTIMATED if estimated else Provenance.MEASURED,
        method=_method(sensor),
    )


def _method(sensor: Sensor) -> str | None:
    """How an energy was had, where it wasn't simply counted."""
    how = [str(sensor.model.get("text") or "by a model")] if sensor.provenance == ESTIMATED else []
    how += [integrals.method(sensor)] if sensor.kind == GAUGE else []
    return "; ".join(how) or None


def total_energy(host: Host, parts: Mapping[str, Metric], group: str | None = None) -> Metric:
    """Sum over the added sensors of a host, or of one of its device groups.

    Args:
        host: The host.
        parts: Metrics of the added sensors by id.
        group: A device group, or None for all.
    """
    added = [sensor for sensor in energy_sensors(host) if sensor.id in parts]
    chosen = {sensor.id: parts[sensor.id] for sensor in added if group in (None, sensor.group)}
    return total(chosen, "J", why_absent(host, group), unreadable(host, group))


def why_absent(host: Host, group: str | None = None) -> str:
    """Why a host has no energy, or a device group of it has none, and what would help."""
    if host.duration_s <= 0:
        return NO_TIME
    missing = [entry for entry in host.recording.missing if any(_wanted(domain, group) for domain in entry.domains)]
    texts = [f"{entry.reason}. {entry.remedy}" if entry.remedy else entry.reason for entry in missing]
    if group is None and host.recording.cut:
        texts.append(host.recording.cut)
    whose = {"cpu": "of the processors", "dram": "of the memory", "gpu": "of a GPU"}.get(group or "", "")
    return "; ".join(dict.fromkeys(texts)) or f"no sensor of the energy {whose}".rstrip() + " was found"


def unreadable(host: Host, group: str | None = None) -> dict[str, str]:
    """Devices that a total lacks because they exist and can't be read, with reasons."""
    added = {sensor.id: sensor for sensor in energy_sensors(host) if sensor.id in host.split.added}
    lacking = {
        name: f"{name}: {entry.reason}"
        for entry in host.recording.missing
        for name, domain in _lost(entry)
        if _wanted(domain, group) and not _covered(domain, entry.backend, added.values())
    }
    if host.slept_s:
        lacking["time asleep"] = f"the machine was suspended for {host.slept_s:.3g} s"
    for id_, reason in host.split.partial.items():
        sensor = added[id_]
        if group in (None, sensor.group) and not str(sensor.parent).startswith("psys"):
            lacking.setdefault(f"{sensor.backend}:{sensor.parent}", f"{id_}: {reason}")
    return lacking


def _wanted(domain: str, group: str | None) -> bool:
    """Whether a domain belongs in the total of a device group, or in that of all."""
    return domain in _GROUPS and group in (None, _GROUPS[domain])


def _lost(entry: Missing) -> list[tuple[str, str]]:
    """Name and domain of what a total lacks because of an entry: sensors by their ids, all others by their backend."""
    if entry.quiet:
        return []
    ids = entry.what.split(", ")
    names = ids if len(ids) == len(entry.domains) else [entry.backend] * len(entry.domains)
    own = f"{entry.backend}:"
    return [
        (name if name.startswith(own) else entry.backend, domain)
        for name, domain in zip(names, entry.domains, strict=True)
    ]


def _covered(domain: str, backend: str, added: Iterable[Sensor]) -> bool:
    """Whether another backend's sensors stand for a domain. Those of one GPU never do for another one."""
    return domain != "gpu" and any(sensor.domain == domain and sensor.backend != backend for sensor in added)
