"""Which energy sensors of one host a total may add, so that no joule is counted twice.

What contains what::

    psys        the platform as its maker wired it: shown, never added
    └── package the processor's socket or die, with its core and uncore
        ├── core
        └── uncore
    dram        beside the package, although powercap nests it inside
    mmio        a second door to a package: the same counter again

``psys`` is left out even where nothing else can be read: which parts of a machine it covers differs from
board to board and is documented nowhere, so a total with it couldn't be compared with any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from perun_like.sensing.contract import ESTIMATED, Sensor
from perun_like.units import NS_PER_S

# What an estimate of a domain would count again: a processor is covered by any counter inside it.
_COVERS = {"package": ("package", "core", "uncore"), "dram": ("dram",)}


class Split(NamedTuple):
    """The energy sensors of a host, told apart.

    Attributes:
        added: Ids of disjoint sensors: a total is their sum.
        not_added: Id to reason, for the report: ``inside rapl:package-0``, ``repeats rapl:package-0``, …
        partial: Id of an added sensor to the reason why it stands for only a part of its device:
            ``package-0`` can't be read, so the sum has only what is inside. Such a total is "at least".
    """

    added: tuple[str, ...]
    not_added: dict[str, str]
    partial: dict[str, str]


def is_energy(sensor: Sensor) -> bool:
    """Whether a sensor measures energy: by a counter, or by power whose integral stands for it."""
    return sensor.quantity == "energy" or (sensor.quantity == "power" and sensor.domain is not None)


def split(sensors: Iterable[Sensor], mirrors: Mapping[str, str] | None = None) -> Split:
    """Tell apart the energy sensors that a total may add from those that repeat or are part of another.

    Args:
        sensors: All sensors of one host; those that don't measure energy are passed over. Of two with
            the same identity the first is added, and a measured one always comes before an estimated one.
        mirrors: What :func:`mirrored` found in the recorded values: id to the id that it mirrors.
    """
    energy = [sensor for sensor in sensors if is_energy(sensor)]
    not_added = {sensor.id: "platform counter, never added" for sensor in energy if sensor.domain == "psys"}
    not_added.update(covered_estimates(energy))
    not_added.update({sensor.id: sensor.outside for sensor in energy if sensor.outside})
    candidates = [sensor for sensor in energy if sensor.id not in not_added]
    not_added.update({id_: f"mirrors {other}" for id_, other in (mirrors or {}).items()})
    first = _first_of_each_identity(candidates)
    parents = {sensor.identity: sensor.parent for sensor in energy}
    for sensor in candidates:
        owner = first[sensor.identity or sensor.id]
        container = _container(sensor, first, parents)
        if sensor.id in not_added:
            continue
        if owner.id != sensor.id:
            not_added[sensor.id] = f"repeats {owner.id}"
        elif container is not None:
            not_added[sensor.id] = f"inside {container.id}"
    added = [sensor for sensor in candidates if sensor.id not in not_added]
    return Split(tuple(sensor.id for sensor in added), not_added, _partial(added, energy))


def covered_estimates(sensors: Iterable[Sensor]) -> dict[str, str]:
    """Estimated sensors whose domain a measured one covers, with the reason: they needn't be recorded."""
    energy = [sensor for sensor in sensors if sensor.quantity == "energy"]
    measured = {sensor.domain: sensor.id for sensor in reversed(energy) if sensor.provenance != ESTIMATED}
    covered: dict[str, str] = {}
    for sensor in energy:
        if sensor.provenance == ESTIMATED and sensor.domain is not None:
            by = [measured[domain] for domain in _COVERS.get(sensor.domain, (sensor.domain,)) if domain in measured]
            if by:
                covered[sensor.id] = f"measured by {by[0]}"
    return covered


def _first_of_each_identity(sensors: Sequence[Sensor]) -> dict[str, Sensor]:
    """The sensor that stands for each physical thing; one without identity stands for itself."""
    first: dict[str, Sensor] = {}
    for sensor in sensors:
        first.setdefault(sensor.identity or sensor.id, sensor)
    return first


def _container(sensor: Sensor, candidates: Mapping[str, Sensor], parents: Mapping[str, str | None]) -> Sensor | None:
    """The nearest candidate that contains a sensor, through however many levels."""
    seen = {sensor.identity}
    identity = sensor.parent
    while identity is not None and identity not in seen:
        if identity in candidates:
            return candidates[identity]
        seen.add(identity)
        identity = parents.get(identity)
    return None


def _partial(added: Sequence[Sensor], energy: Sequence[Sensor]) -> dict[str, str]:
    """Added sensors whose container exists but can't be read."""
    present = {sensor.identity for sensor in energy}
    return {
        sensor.id: f"{sensor.parent} can't be read: only what is inside it is added"
        for sensor in added
        if sensor.parent is not None and sensor.parent not in present
    }


def mirrored(sensors: Sequence[Sensor], sweeps: Sequence[Sequence[int | None]]) -> dict[str, str]:
    """Dies of a socket that show one and the same counter, as on multi-die AMD Zen 1 and 2.

    Nothing in sysfs tells them from dies with a counter each: only the values do. Two counters that started
    at boot are practically never within two ticks of each other, and mirrors always are.

    Args:
        sensors: The columns of a sweep.
        sweeps: Two or more sweeps far apart, raw integers, None where a read failed. The counters must have
            moved in between.

    Returns:
        Id to the id of the sensor that it mirrors; empty where that can't be told.
    """
    mirrors: dict[str, str] = {}
    dies = [(index, sensor) for index, sensor in enumerate(sensors) if "-die-" in sensor.identity]
    for position, (index, sensor) in enumerate(dies):
        for earlier, other in dies[:position]:
            if other.id in mirrors or other.domain != sensor.domain or _socket(other) != _socket(sensor):
                continue
            if _always_close(sensor, [(row[index], row[earlier]) for row in sweeps]):
                mirrors[sensor.id] = other.id
                break
    return mirrors


def _socket(sensor: Sensor) -> str:
    return sensor.identity.partition("-die-")[0]


def _always_close(sensor: Sensor, pairs: Sequence[tuple[int | None, int | None]]) -> bool:
    """Whether two counters moved, and agreed at every sweep to within the energy of two updates."""
    update_s = 2 * (sensor.tick_ns + sensor.lag_ns) / NS_PER_S
    near = sensor.resolution + (sensor.ceiling or 0.0) * update_s / sensor.scale
    values = [(a, b) for a, b in pairs if a is not None and b is not None]
    moved = len(values) > 1 and abs(values[-1][0] - values[0][0]) > near
    return moved and all(abs(a - b) <= near for a, b in values)
