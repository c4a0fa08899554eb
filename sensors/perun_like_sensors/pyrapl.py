"""Energy of processor packages and memory as pyRAPL reads it: a second reader of counters that ``rapl`` reads.

An alternative, used only where it is named: ``--backend pyrapl``. Its sensors are those of ``rapl`` but for id and
source; where they wrap is ours to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from perun_like.sensing.contract import Context, Found, Missing, Sensor
from perun_like_sensors._powercap import Zone, find_zones
from perun_like_sensors._pyrapl import DOMAINS, Counter, Devices
from perun_like_sensors._rapl_missing import ROOT_ONLY, no_zones, unreadable
from perun_like_sensors.rapl import RaplBackend, describe

_CONTROL_TYPE = "intel-rapl"  # the one driver that pyRAPL knows; it serves AMD, too
_FILE = "/energy_uj"
_THROUGH = f"{_FILE} through pyRAPL"

_NOT_INSTALLED = "the package pyRAPL is not installed"
_DIES = "pyRAPL can't tell the dies of a package apart"
_UNKNOWN = "pyRAPL doesn't recognise the zone"
_READ_BY_RAPL = "Leave out --backend pyrapl: the backend rapl reads it."
_REMEDIES = {
    _NOT_INSTALLED: 'pip install "perun-like[pyrapl]"',
    _DIES: _READ_BY_RAPL,
    _UNKNOWN: _READ_BY_RAPL,
}


class PyraplBackend:
    """Finds the RAPL zones of this machine that pyRAPL can read."""

    name = "pyrapl"
    domains = DOMAINS
    min_period_ns = RaplBackend.min_period_ns

    def find(self, context: Context) -> Found:
        """Packages and their dram; one reason for each group of zones that can't be read."""
        zones = find_zones(context.powercap_root)
        if not zones:
            return Found((), (no_zones(context)._replace(backend=self.name),))
        known = list(_describe(zones))
        if not known:
            neither = f"pyRAPL reads packages and dram only, and {context.powercap_root} has neither"
            return Found((), (Missing(self.name, "energy", neither, domains=DOMAINS),))
        devices = _devices(zones)
        sensors: list[Sensor] = []
        failed: dict[str, list[Sensor]] = {}
        for sensor in known:
            reason = _why_unreadable(devices, sensor)
            if reason is None:
                sensors.append(sensor)
            else:
                failed.setdefault(reason, []).append(sensor)
        return Found(sensors, [_missing(lost, reason) for reason, lost in failed.items()])

    def open(self, sensors: Sequence[Sensor], context: Context) -> PyraplReader:
        """Have pyRAPL open the counter of each sensor. One that can't be opened any more reads as None."""
        devices = _devices(find_zones(context.powercap_root)) if sensors else None
        return PyraplReader([_open_or_none(devices, sensor) for sensor in sensors])


class PyraplReader:
    """Counters that pyRAPL holds open."""

    def __init__(self, counters: Sequence[Counter | None]) -> None:
        self._counters = counters

    def read(self) -> list[int | None]:
        """Microjoules of each zone; None for one that couldn't be read or gave no number."""
        values: list[int | None] = []
        for counter in self._counters:
            try:
                values.append(counter.read() if counter is not None else None)
            except (OSError, ValueError):  # noqa: PERF203  # one failing zone leaves the others
                values.append(None)
        return values

    def close(self) -> None:
        """Give back the descriptors; a second call does nothing."""
        counters, self._counters = self._counters, ()
        for counter in counters:
            if counter is not None:
                counter.close()


def _describe(zones: Sequence[Zone]) -> Iterator[Sensor]:
    """What ``rapl`` says of the zones whose kind pyRAPL knows: the same thing with the same wrap, read otherwise."""
    for zone, sensor in zip(zones, describe(zones), strict=True):
        if zone.control_type == _CONTROL_TYPE and zone.domain in DOMAINS:
            note = sensor.source.removeprefix(f"{zone.path}{_FILE}")
            yield sensor._replace(
                id=f"{PyraplBackend.name}:{sensor.id.removeprefix('rapl:')}",
                backend=PyraplBackend.name,
                source=f"{zone.path}{_THROUGH}{note}",
            )


def _devices(zones: Sequence[Zone]) -> Devices | None:
    """PyRAPL with these zones in place of the system's; None if it isn't installed."""
    try:
        return Devices({zone.path.rpartition("/")[2]: zone.path for zone in zones})
    except ModuleNotFoundError as error:
        if error.name != "pyRAPL":  # it is there, and broken: that is another story
            raise
        return None


def _open(devices: Devices, sensor: Sensor) -> Counter:
    """Raises OSError or LookupError as :meth:`Devices.open` does."""
    number = sensor.identity.partition("/")[0].removeprefix("package-").partition("-")[0]
    if sensor.domain is None or not number.isdigit():
        raise LookupError(f"{sensor.identity} names no package")
    return devices.open(sensor.domain, int(number), sensor.source.partition(_THROUGH)[0])


def _open_or_none(devices: Devices | None, sensor: Sensor) -> Counter | None:
    try:
        return _open(devices, sensor) if devices is not None else None
    except (OSError, LookupError):
        return None


def _why_unreadable(devices: Devices | None, sensor: Sensor) -> str | None:
    """Why a sensor can't be read, found out by doing it as the reader will; None if it can."""
    if devices is None:
        return _NOT_INSTALLED
    try:
        with closing(_open(devices, sensor)) as counter:
            counter.read()
    except LookupError:
        return _DIES if "-die-" in sensor.identity else _UNKNOWN
    except PermissionError:
        return ROOT_ONLY
    except OSError as error:
        return f"reading energy_uj fails: {error.strerror}"
    except ValueError:
        return "energy_uj holds no number"
    return None


def _missing(sensors: Sequence[Sensor], reason: str) -> Missing:
    entry = unreadable(sensors, reason)
    return entry._replace(backend=PyraplBackend.name, remedy=entry.remedy or _REMEDIES.get(reason, ""))
