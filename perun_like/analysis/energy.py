"""Energy of a host's devices: each sensor's, and the sums that DESIGN allows, over one window or many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perun_like.analysis import estimates, integrals
from perun_like.analysis.hosts import Host
from perun_like.analysis.totals import NO_TIME, counted, total
from perun_like.analysis.windows import Increase, Windows, increases
from perun_like.model.node import Metric, Provenance
from perun_like.sensing.contract import ESTIMATED, GAUGE, Missing, Sensor
from perun_like.sensing.overlap import is_energy

# Domains whose energy belongs in a host's total, with their device group: what a total lacks if they exist and
# can't be read. The parts of a package, psys and second doors to a package (mmio) don't belong there.
_DOMAINS = {"package": "cpu", "dram": "dram", "gpu": "gpu"}
# What a reason must be about to explain that a device group has no energy.
_ABOUT = {"cpu": ("rapl", "estimate"), "dram": ("dram",), "gpu": ("gpu", "nvml")}
_EVERYTHING = ("energy", "all sensors")
# What a backend would add to a total, and how it says that all of its sensors, or a whole device, are lost.
_GIVES = {"rapl": ("package", "dram"), "nvml": ("gpu",)}
_WHOLE = ("energy", "all sensors", "all GPUs", "backend", "samples from ", "GPU ")


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
    found = increases([host.counters[sensor.id] for sensor in counted], windows)
    known = {
        sensor.id: estimates.energy(sensor, increase, windows) if estimates.is_estimate(sensor) else increase
        for sensor, increase in zip(counted, found, strict=True)
    }
    known |= {s.id: integrals.energy(host.curves[s.id], windows) for s in wanted if s.id not in known}
    return {sensor.id: known[sensor.id] for sensor in wanted}


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
    if sensor.kind == GAUGE:
        return integrals.method(sensor)
    return str(sensor.model.get("text") or "by a model") if sensor.provenance == ESTIMATED else None


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
    missing = [entry for entry in host.recording.missing if _concerns(entry, group)]
    texts = [f"{entry.reason}. {entry.remedy}" if entry.remedy else entry.reason for entry in missing]
    if group is None and host.recording.cut:
        texts.append(host.recording.cut)
    whose = {"cpu": "of the processors", "dram": "of the memory", "gpu": "of a GPU"}.get(group or "", "")
    return "; ".join(dict.fromkeys(texts)) or f"no sensor of the energy {whose}".rstrip() + " was found"


def unreadable(host: Host, group: str | None = None) -> dict[str, str]:
    """Devices that a total lacks because they exist and can't be read, with reasons."""
    added = {sensor.id: sensor for sensor in energy_sensors(host) if sensor.id in host.split.added}
    estimated = {sensor.domain for sensor in added.values() if sensor.provenance == ESTIMATED}
    lacking: dict[str, str] = {}
    for entry in host.recording.missing:
        for id_ in entry.what.split(", "):
            domain = _domain(id_, entry.backend)
            if domain in _DOMAINS and domain not in estimated and group in (None, _DOMAINS[domain]):
                lacking[id_] = f"{id_}: {entry.reason}"
        if _uncovered(entry, added.values(), group):
            lacking[entry.backend] = f"{entry.backend}: {entry.reason}"
    if host.slept_s:
        lacking["time asleep"] = f"the machine was suspended for {host.slept_s:.3g} s"
    for id_, reason in host.split.partial.items():
        sensor = added[id_]
        if group in (None, sensor.group) and not str(sensor.parent).startswith("psys"):
            lacking.setdefault(f"{sensor.backend}:{sensor.parent}", f"{id_}: {reason}")
    return lacking


def _uncovered(entry: Missing, added: Iterable[Sensor], group: str | None) -> bool:
    """Whether a backend is lost as a whole and nothing else gives what it would add."""
    if entry.quiet or not entry.what.startswith(_WHOLE):
        return False
    covered = {sensor.domain for sensor in added if sensor.backend != entry.backend}
    wanted = [domain for domain in _GIVES.get(entry.backend, ()) if group in (None, _DOMAINS[domain])]
    return any(domain not in covered for domain in wanted)


def _domain(id_: str, backend: str) -> str:
    """``dram`` of ``rapl:package-0/dram``, ``gpu`` of ``nvml:gpu1``; empty for what isn't a sensor of this backend."""
    device = id_.removeprefix(f"{backend}:")
    return "" if device == id_ else device.rpartition("/")[2].partition("-")[0].rstrip("0123456789")


def _concerns(entry: Missing, group: str | None) -> bool:
    """Whether something that can't be read explains a missing energy."""
    what = f"{entry.backend} {entry.what}".lower()
    about = _ABOUT.get(group or "", ("rapl", "estimate", "gpu", "nvml"))
    return entry.what in _EVERYTHING or any(word in what for word in about)
