"""All faults there are, and which of them are tried how often."""

from __future__ import annotations

from collections.abc import Sequence

from . import applications, clocks, kills, limits, ranks, recoveries, sensors, stops, storage, terminals
from .fault import Fault

_FAMILIES = (kills, ranks, stops, terminals, storage, limits, applications, sensors, clocks, recoveries)
FAULTS: dict[str, Fault] = {fault.name: fault for family in _FAMILIES for fault in family.FAULTS}


def schedule(count: int, seed: int, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Which faults are tried, with which seeds; what takes longest first.

    Args:
        count: How many tries.
        seed: Of the first; each one after it has the next number. One try of a fault, by ``count=1``, has the seed.
        only: Names of faults, or parts of names; all if there are none.
        without: Likewise, of faults that are left out.
    """
    named = [f for f in FAULTS.values() if not only or any(part in f.name for part in only)]
    chosen = [f for f in named if not any(part in f.name for part in without)]
    due = [(tried / fault.weight, place, fault.name) for place, fault in enumerate(chosen) for tried in range(count)]
    names = [name for _, _, name in sorted(due)[:count]]
    return sorted(zip(names, range(seed, seed + count), strict=False), key=lambda entry: -FAULTS[entry[0]].length_s[1])
