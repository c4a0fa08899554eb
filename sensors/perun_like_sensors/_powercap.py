"""The kernel's powercap tree: its RAPL zones, and where their counters wrap.

A zone is a directory with a ``name`` and an ``energy_uj``; the directory's own name says where it hangs:
``intel-rapl:0`` is the first package, ``intel-rapl:0:1`` the second zone inside it. So it is on AMD, too.
https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MMIO = "intel-rapl-mmio"

# Energy units in nJ as the kernel derives them from the processor: 2^-14 J (Intel since Haswell), 15.3 uJ
# (DRAM of Xeons), 2^-16 J (AMD, older Intel). Only needed where a zone doesn't say its range.
KNOWN_UNITS_NJ = (61_035, 15_300, 15_258)


class Zone(NamedTuple):
    """One directory of the tree.

    Attributes:
        control_type: The driver: ``intel-rapl`` or ``intel-rapl-mmio``.
        indices: Its place in the driver's tree: ``(0, 1)`` is the second zone inside the first.
        name: ``package-0``, ``package-1-die-0``, ``core``, ``uncore``, ``dram`` or ``psys``.
        path: The directory.
    """

    control_type: str
    indices: tuple[int, ...]
    name: str
    path: str

    @property
    def domain(self) -> str:
        """The kind of thing it counts: its name without the numbers."""
        return self.name.partition("-")[0]


class Wrap(NamedTuple):
    """Where a counter starts again, and how we know.

    Attributes:
        modulus: In microjoules; None if it couldn't be found out: a wrap is then a gap.
        resolution: One unit, in microjoules, rounded up.
        note: How the modulus was had, if not from the zone itself.
    """

    modulus: int | None
    resolution: int
    note: str = ""


def find_zones(root: str) -> list[Zone]:
    """RAPL zones under a powercap root, in numeric order, each before the zones inside it.

    Both layouts are understood: ``/sys/class/powercap``, where links to all zones lie side by side, and the
    nested directories of ``/sys/devices/virtual/powercap``, which are what a container can be given.
    """
    zones: dict[str, Zone] = {}
    for zone in _walk(root, depth=3):
        zones.setdefault(os.path.basename(zone.path), zone)
    return sorted(zones.values(), key=lambda zone: (zone.control_type == MMIO, zone[:2]))


def _walk(directory: str, depth: int) -> Iterator[Zone]:
    deeper: list[str] = []
    for entry in list_directory(directory):
        control_type, *numbers = entry.split(":")
        if "rapl" not in control_type or not all(number.isdigit() for number in numbers):
            continue
        path = f"{directory}/{entry}"
        deeper.append(path)
        name = read_text(f"{path}/name")
        if name and numbers:
            yield Zone(control_type, tuple(map(int, numbers)), name, path)
    for path in deeper if depth else ():
        yield from _walk(path, depth - 1)


def list_directory(path: str) -> list[str]:
    """Names in a directory; none if it can't be listed."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def read_text(path: str) -> str | None:
    """A small file's text without surrounding space; None if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def read_int(path: str) -> int | None:
    """A small file's number; None if it can't be read or isn't one."""
    text = read_text(path)
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def wrap_of_range(range_uj: int) -> Wrap:
    """Where a counter wraps whose largest value is ``range_uj``: one unit later.

    The kernel computes the range as ``(2^32 - 1) * unit // 1000``: that gives the unit back. Registers of
    fewer bits (simulated machines have them) are recognised by the known units.
    """
    for bits in range(32, 15, -1):
        counts = (1 << bits) - 1
        unit_nj = -(-range_uj * 1000 // counts)
        plausible = unit_nj in KNOWN_UNITS_NJ or (bits == 32 and unit_nj >= 1000)
        if plausible and counts * unit_nj // 1000 == range_uj:
            return Wrap((counts + 1) * unit_nj // 1000, -(-unit_nj // 1000))
    return Wrap(range_uj + 1, 1)


def wrap_of_unit(unit_nj: int, note: str) -> Wrap:
    """Where a 32-bit counter of this unit wraps."""
    return Wrap((unit_nj << 32) // 1000, -(-unit_nj // 1000), note)


def learn_unit_nj(values_uj: Sequence[int]) -> int | None:
    """The one known unit of which all these counter values are multiples, as the kernel rounds them.

    A value fits a wrong unit by chance once in 15 times at most: four different values settle it. None if
    fewer are given, if no known unit fits, or if two do.
    """
    values = set(values_uj)
    fitting = [unit for unit in KNOWN_UNITS_NJ if all(_is_multiple(value, unit) for value in values)]
    return fitting[0] if len(values) >= 4 and len(fitting) == 1 else None


def _is_multiple(value_uj: int, unit_nj: int) -> bool:
    return -(-value_uj * 1000 // unit_nj) * unit_nj // 1000 == value_uj


def wraps(zones: Sequence[Zone]) -> dict[Zone, Wrap]:
    """Where each zone's counter wraps: from its range, a sibling's range, or its unit, in this order."""
    ranges = {zone: read_int(f"{zone.path}/max_energy_range_uj") for zone in zones}
    siblings = {zone.domain: range_uj for zone, range_uj in ranges.items() if range_uj}
    return {zone: _wrap(zone, range_uj, siblings.get(zone.domain)) for zone, range_uj in ranges.items()}


def _wrap(zone: Zone, range_uj: int | None, sibling_uj: int | None) -> Wrap:
    if range_uj:
        return wrap_of_range(range_uj)
    if sibling_uj:
        return wrap_of_range(sibling_uj)._replace(note="modulus as of another zone of its kind")
    unit_nj = learn_unit_nj(_some_values(f"{zone.path}/energy_uj"))
    if unit_nj:
        return wrap_of_unit(unit_nj, f"modulus from its unit of {unit_nj} nJ")
    return Wrap(None, 1, "modulus unknown, a wrap is a gap")


def _some_values(path: str) -> list[int]:
    """A few values of a counter, some updates apart. Takes 8 ms, and only where no range can be read."""
    import time  # here because hardly any machine comes this way

    values: list[int] = []
    for _ in range(8):
        value = read_int(path)
        if value is None:
            break
        values.append(value)
        time.sleep(0.001)
    return values
