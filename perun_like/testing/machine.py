"""A machine of known power: what its energy counters show at any instant, and the truth behind them.

Nothing runs between two reads: a counter is computed in closed form from the time it is asked for, so it
can't drift, and every process that knows the machine sees the same values. Times are CLOCK_MONOTONIC
nanoseconds, except within powers, faults and zones, where they count from the machine's origin.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from perun_like.errors import InputError
from perun_like.testing.power import Power, from_spec

DROPPED = "dropped"  # a read fails with EIO
FORBIDDEN = "forbidden"  # opening and reading fail with EACCES
VANISHED = "vanished"  # the zone is gone: ENOENT for its path, ENODEV for a held descriptor
GARBAGE = "garbage"  # a read gives a text that is no number
BLOCKED = "blocked"  # a read takes its time
FAULTS = (DROPPED, FORBIDDEN, VANISHED, GARBAGE, BLOCKED)

_ERRNO = {DROPPED: errno.EIO, FORBIDDEN: errno.EACCES, VANISHED: errno.ENODEV}
_FJ_PER_NJ = 10**6

_T = TypeVar("_T", "Fault", "Zone")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with a zone, in a half-open interval of time since the machine's origin.

    Attributes:
        kind: ``dropped``, ``forbidden``, ``vanished``, ``garbage`` or ``blocked``.
        start_ns: From when.
        stop_ns: Until when; None for ever.
        text: What a read gives, of ``garbage``.
        delay_ns: How long a read takes, of ``blocked``. The value is that of the end of the wait.
    """

    kind: str
    start_ns: int
    stop_ns: int | None = None
    text: str = "\x00?\n"
    delay_ns: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise InputError(f"{self.kind!r} is not a kind of fault: use one of {', '.join(FAULTS)}")

    def holds(self, t_ns: int) -> bool:
        """Whether it is so at a time since the machine's origin."""
        return self.start_ns <= t_ns and (self.stop_ns is None or t_ns < self.stop_ns)


@dataclass(frozen=True)
class Zone:
    """One energy counter, as the kernel's powercap tree shows it.

    The hardware counts whole units of ``unit_nj`` in a register of ``register_bits`` and updates it every
    ``tick_ns``; the kernel prints ``register * unit_nj // 1000`` microjoules. A register of 22 bits wraps
    every 256 J: a test need not wait a quarter of an hour for it.

    Attributes:
        path: Name of its directory: ``intel-rapl:0``, or ``intel-rapl:0:1`` for the second zone inside it.
        name: What the kernel calls it: ``package-0``, ``package-0-die-1``, ``core``, ``uncore``, ``dram`` or
            ``psys``.
        power: Power as a function of the time since the machine's origin.
        start_uj: What the counter shows at the origin (to the unit below).
        unit_nj: Energy of one count in nanojoules: 61,035 (most Intel), 15,300 (Xeon DRAM), 15,258 (AMD).
        register_bits: Size of the register, 32 in hardware.
        tick_ns: Period of the updates; 0 for a counter that is always up to date.
        lag_ns: How long after an update it can be read.
        max_power_w: What ``constraint_0_max_power_uw`` says; None for a zone without constraints.
        readable: Whether ``energy_uj`` can be opened, by anyone.
        faults: What goes wrong, and when. The first one that holds is what happens.
    """

    path: str
    name: str
    power: Power
    start_uj: int = 0
    unit_nj: int = 61_035
    register_bits: int = 32
    tick_ns: int = 976_562
    lag_ns: int = 0
    max_power_w: float | None = 500.0
    readable: bool = True
    faults: Sequence[Fault] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(self.faults))
        if not 2 <= len(self.path.split(":")) <= 3 or "/" in self.path:
            raise InputError(f"{self.path!r} is not a zone's path: write intel-rapl:0, or intel-rapl:0:0")
        if min(self.unit_nj, self.register_bits) < 1:
            raise InputError(f"zone {self.path}: unit_nj and register_bits must be positive")
        if min(self.tick_ns, self.lag_ns) < 0:
            raise InputError(f"zone {self.path}: tick_ns and lag_ns can't be negative")
        if not 0 <= self.start_uj <= self.max_energy_range_uj:
            raise InputError(f"zone {self.path}: start_uj must be from 0 to {self.max_energy_range_uj}")

    @property
    def control_type(self) -> str:
        """The driver: ``intel-rapl`` or ``intel-rapl-mmio``."""
        return self.path.split(":", 1)[0]

    @property
    def parent(self) -> str | None:
        """Path of the zone it is inside; None at the top."""
        return self.path.rpartition(":")[0] if self.path.count(":") > 1 else None

    @property
    def max_energy_range_uj(self) -> int:
        """Largest value the counter can show, in microjoules."""
        return ((1 << self.register_bits) - 1) * self.unit_nj // 1000

    @property
    def wrap_j(self) -> float:
        """Energy after which the counter is back where it was, in joules: one unit more than it can show."""
        return (1 << self.register_bits) * self.unit_nj / 1e9

    def counter_uj(self, t_ns: int) -> int:
        """What the counter shows at a time since the machine's origin, in microjoules, without any fault."""
        t_ns -= self.lag_ns
        if self.tick_ns:
            t_ns -= t_ns % self.tick_ns
        unit_nj = self.unit_nj
        counts = self.start_uj * 1000 // unit_nj + self.power.total_fj(t_ns) // (unit_nj * _FJ_PER_NJ)
        return (counts & ((1 << self.register_bits) - 1)) * unit_nj // 1000

    def fault(self, t_ns: int) -> Fault | None:
        """What goes wrong at a time since the machine's origin; None if nothing does."""
        for fault in self.faults:
            if fault.holds(t_ns):
                return fault
        return None

    def text(self, t_ns: int) -> bytes:
        """What reading ``energy_uj`` gives at a time since the machine's origin (the end of a blocked read).

        Raises:
            OSError: EIO, EACCES or ENODEV, as the fault that holds says.
        """
        fault = self.fault(t_ns)
        if fault is not None:
            if fault.kind in _ERRNO:
                code = _ERRNO[fault.kind]
                raise OSError(code, f"zone {self.path} is {fault.kind}")
            if fault.kind == GARBAGE:
                return fault.text.encode()
        return b"%d\n" % self.counter_uj(t_ns)

    def delay_ns(self, t_ns: int) -> int:
        """How long a read that starts at a time since the machine's origin is held up, in nanoseconds."""
        fault = self.fault(t_ns)
        return fault.delay_ns if fault is not None and fault.kind == BLOCKED else 0

    def spec(self) -> dict[str, Any]:
        """This zone as plain JSON values."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"power": self.power.spec(), "faults": [asdict(fault) for fault in self.faults]}


@dataclass(frozen=True)
class Machine:
    """Zones on one clock.

    Attributes:
        zones: In any order; a zone's parent must be among them.
        origin_ns: CLOCK_MONOTONIC of the time 0 of powers and faults.
    """

    zones: Sequence[Zone]
    origin_ns: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "zones", tuple(self.zones))
        paths = [zone.path for zone in self.zones]
        if len(set(paths)) < len(paths):
            raise InputError(f"two zones have one path: {', '.join(sorted(paths))}")
        orphans = [zone.path for zone in self.zones if zone.parent not in (None, *paths)]
        if orphans:
            raise InputError(f"the machine lacks the zone that contains {', '.join(orphans)}: add it")

    def zone(self, path: str) -> Zone:
        """The zone with this path.

        Raises:
            InputError: there is none.
        """
        for zone in self.zones:
            if zone.path == path:
                return zone
        raise InputError(f"the machine has no zone {path!r}, only {', '.join(z.path for z in self.zones)}")

    def truth_j(self, path: str, a_ns: int, b_ns: int) -> float:
        """Energy that a zone really used between two CLOCK_MONOTONIC instants, in joules."""
        return self.zone(path).power.energy_j(a_ns - self.origin_ns, b_ns - self.origin_ns)

    def power_w(self, path: str, t_ns: int) -> float:
        """Power of a zone at a CLOCK_MONOTONIC instant, in watts."""
        return self.zone(path).power.power_w(t_ns - self.origin_ns)

    def counter_uj(self, path: str, t_ns: int) -> int:
        """What a zone's counter shows at a CLOCK_MONOTONIC instant, in microjoules, without any fault."""
        return self.zone(path).counter_uj(t_ns - self.origin_ns)

    def starting_at(self, origin_ns: int) -> Machine:
        """The same machine, with its time 0 at this CLOCK_MONOTONIC instant."""
        return replace(self, origin_ns=origin_ns)

    def with_faults(self, path: str, *faults: Fault) -> Machine:
        """The same machine, with more going wrong in one zone."""
        broken = replace(self.zone(path), faults=(*self.zone(path).faults, *faults))
        return replace(self, zones=[broken if zone.path == path else zone for zone in self.zones])

    def spec(self) -> dict[str, Any]:
        """This machine as plain JSON values."""
        return {"origin_ns": self.origin_ns, "zones": [zone.spec() for zone in self.zones]}

    def to_json(self) -> str:
        """Everything there is to know about it, as JSON; :meth:`from_json` restores it in another process."""
        return json.dumps(self.spec(), indent=1)

    @staticmethod
    def from_json(text: str) -> Machine:
        """The machine that a text describes.

        Raises:
            InputError: the text isn't JSON or doesn't describe a machine.
        """
        try:
            spec = json.loads(text)
            return Machine([_zone(zone) for zone in spec["zones"]], spec.get("origin_ns", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not the description of a machine ({error!r}): see Machine.to_json") from error


def _zone(spec: Mapping[str, Any]) -> Zone:
    faults = [_make(Fault, fault) for fault in spec.get("faults", ())]
    return _make(Zone, {**spec, "power": from_spec(spec["power"]), "faults": faults})


def _make(type_: type[_T], spec: Mapping[str, Any]) -> _T:
    known = [field.name for field in fields(type_)]
    unknown = sorted(set(spec) - set(known))
    if unknown:
        raise InputError(f"a {type_.__name__.lower()} has no {', '.join(unknown)}, only {', '.join(known)}")
    return type_(**spec)
