"""Energy of processor packages and memory from RAPL, through the kernel's powercap tree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from perun_like.sensing.contract import COUNTER, Context, Found, Missing, Sensor
from perun_like_sensors._powercap import MMIO, Wrap, Zone, find_zones, read_int, wraps
from perun_like_sensors._rapl_missing import DOMAINS, ROOT_ONLY, no_zones, unreadable

# A counter is updated every 1/1024 s, give or take some tens of microseconds
# (Hähnel et al., Measuring energy consumption for short code paths using RAPL, 2012).
TICK_NS = 976_563
LAG_NS = 50_000

# No single device of these kinds draws more, in watts. Used where a zone names no limit of its own.
_CEILING_W = {"dram": 1000.0, "psys": 20_000.0}
_DEFAULT_CEILING_W = 2000.0
_BURST = 3  # short bursts exceed the limits a zone names, which are averages over seconds

_GROUPS = {"dram": "dram", "psys": "platform"}  # all others are parts of the processor
_NOTE = " (modulus"


class RaplBackend:
    """Finds the RAPL zones of this machine."""

    name = "rapl"
    domains = DOMAINS
    min_period_ns = 1_000_000  # there is nothing new to read more often

    def find(self, context: Context) -> Found:
        """Every readable zone; one reason for each group of zones that can't be read."""
        zones = find_zones(context.powercap_root)
        if not zones:
            return Found((), (no_zones(context),))
        sensors: list[Sensor] = []
        failed: dict[str, list[Sensor]] = {}
        for sensor in describe(zones):
            reason = _why_unreadable(_path(sensor))
            if reason is None:
                sensors.append(sensor)
            else:
                failed.setdefault(reason, []).append(sensor)
        missing: list[Missing] = [unreadable(zones, reason) for reason, zones in failed.items()]
        return Found(sensors, missing)

    def open(self, sensors: Sequence[Sensor], context: Context) -> RaplReader:  # noqa: ARG002  # the contract's signature
        """Hold one descriptor a zone. A zone that can't be opened any more reads as None."""
        return RaplReader([_path(sensor) for sensor in sensors])


class RaplReader:
    """Held descriptors of ``energy_uj``: a read costs one system call and no lookup."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._descriptors = [_open_or_refused(path) for path in paths]

    def read(self) -> list[int | None]:
        """Microjoules of each zone; None for one that couldn't be read or gave no number."""
        values: list[int | None] = []
        pread, append = os.pread, values.append  # looked up once: this runs a thousand times a second
        for descriptor in self._descriptors:
            try:
                append(int(pread(descriptor, 32, 0)))
            except (OSError, ValueError):  # noqa: PERF203  # one failing zone leaves the others
                append(None)
        return values

    def close(self) -> None:
        """Give back the descriptors; a second call does nothing."""
        descriptors, self._descriptors = self._descriptors, []
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


def _open_or_refused(path: str) -> int:
    """A descriptor, or -1, which the kernel refuses at every read: the loop needs no case of its own."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _why_unreadable(path: str) -> str | None:
    """Read as the reader will: a file's mode doesn't tell (root, security modules, failing hardware)."""
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        int(os.pread(descriptor, 32, 0))
    except PermissionError:
        return ROOT_ONLY
    except OSError as error:
        return f"reading energy_uj fails: {error.strerror}"
    except ValueError:
        return "energy_uj holds no number"
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return None


def describe(zones: Sequence[Zone]) -> Iterator[Sensor]:
    """One sensor a zone, in the zones' order, ids unique. Nothing is said of whether it can be read."""
    names = {(zone.control_type, zone.indices): zone.name for zone in zones}
    wrap = wraps(zones)
    taken: set[str] = set()
    for zone in zones:
        outer = names.get((zone.control_type, zone.indices[:-1]))
        identity = f"{outer}/{zone.name}" if outer else zone.name
        id_ = f"rapl:mmio:{identity}" if zone.control_type == MMIO else f"rapl:{identity}"
        if id_ in taken:  # no kernel is known to do it, but a lost sensor would be worse than a long name
            id_ = f"{id_}@{os.path.basename(zone.path)}"
        taken.add(id_)
        # dram is listed inside its package, but isn't part of it; psys contains packages, but no total has it.
        yield _sensor(zone, id_, identity, None if zone.domain == "dram" else outer, wrap[zone])


def _sensor(zone: Zone, id_: str, identity: str, parent: str | None, wrap: Wrap) -> Sensor:
    note = f"{_NOTE}{wrap.note.removeprefix('modulus')})" if wrap.note else ""
    return Sensor(
        id=id_,
        backend="rapl",
        group=_GROUPS.get(zone.domain, "cpu"),
        quantity="energy",
        kind=COUNTER,
        unit="J",
        scale=1e-6,
        modulus=wrap.modulus,
        resolution=wrap.resolution,
        tick_ns=TICK_NS,
        lag_ns=LAG_NS,
        ceiling=_ceiling_w(zone),
        domain=zone.domain,
        identity=identity,
        parent=parent,
        source=f"{zone.path}/energy_uj{note}",
    )


def _path(sensor: Sensor) -> str:
    return sensor.source.partition(_NOTE)[0]


def _ceiling_w(zone: Zone) -> float:
    """A power the zone can't exceed: three times its largest limit, but not more than any such device's."""
    default = _CEILING_W.get(zone.domain, _DEFAULT_CEILING_W)
    limits = [
        read_int(f"{zone.path}/constraint_{number}_{kind}_uw") or 0
        for number in range(3)
        for kind in ("max_power", "power_limit")
    ]
    return min(_BURST * max(limits) / 1e6, default) if max(limits) > 0 else default
