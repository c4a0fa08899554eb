"""The files of a powercap tree, with the layout and the texts of the kernel's ``intel_rapl`` driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from perun_like.testing.fuse_nodes import Directory, File, Node, Symlink
from perun_like.testing.machine import FORBIDDEN, VANISHED, Machine, Zone


def powercap_tree(machine: Machine, now: Callable[[], int] = time.monotonic_ns) -> Directory:
    """The tree as sysfs shows it: zones in their control type and parent, links to all of them at the top.

    Args:
        machine: Whose zones to show.
        now: The time that counters and faults go by, CLOCK_MONOTONIC in nanoseconds.
    """
    entries: dict[str, Node] = {}
    for control_type in dict.fromkeys(zone.control_type for zone in machine.zones):
        top = [z for z in machine.zones if z.control_type == control_type and z.parent is None]
        zones = {zone.path: _directory(machine, zone, now) for zone in top}
        facts: dict[str, Node] = {"enabled": _constant("1"), "uevent": _constant(""), "subsystem": Symlink("..")}
        entries[control_type] = Directory({**facts, **zones})
    for zone in machine.zones:
        inside = f"{zone.parent}/" if zone.parent else ""
        entries[zone.path] = Symlink(f"{zone.control_type}/{inside}{zone.path}", _gone(machine, zone, now))
    return Directory(entries)


def _directory(machine: Machine, zone: Zone, now: Callable[[], int]) -> Directory:
    entries: dict[str, Node] = {
        "name": _constant(zone.name),
        "energy_uj": _energy(machine, zone, now),
        "max_energy_range_uj": _constant(str(zone.max_energy_range_uj)),
        "enabled": _constant("1" if zone.parent is None else "0"),
        "uevent": _constant(""),
        **_constraints(zone),
    }
    for inner in machine.zones:
        if inner.parent == zone.path:
            entries[inner.path] = _directory(machine, inner, now)
    return Directory(entries, _gone(machine, zone, now))


def _constraints(zone: Zone) -> Mapping[str, Node]:
    if zone.max_power_w is None:
        return {}
    limit_uw = str(round(zone.max_power_w * 1e6))
    return {
        "constraint_0_name": _constant("long_term"),
        "constraint_0_max_power_uw": _constant(limit_uw),
        "constraint_0_power_limit_uw": _constant(limit_uw),
        "constraint_0_time_window_us": _constant("999424"),
    }


def _constant(text: str) -> File:
    content = f"{text}\n".encode() if text else b""
    return File(lambda: content)


def _energy(machine: Machine, zone: Zone, now: Callable[[], int]) -> File:
    origin_ns, counter_uj = machine.origin_ns, zone.counter_uj
    refused = _is(FORBIDDEN, machine, zone, now) if zone.readable else lambda: True
    if not zone.faults:
        return File(lambda: b"%d\n" % counter_uj(now() - origin_ns), 0o400, refused=refused)
    return File(
        lambda: zone.text(now() - origin_ns),
        0o400,
        refused=refused,
        delay_s=lambda: zone.delay_ns(now() - origin_ns) / 1e9,
    )


def _gone(machine: Machine, zone: Zone, now: Callable[[], int]) -> Callable[[], bool]:
    return _is(VANISHED, machine, zone, now)


def _is(kind: str, machine: Machine, zone: Zone, now: Callable[[], int]) -> Callable[[], bool]:
    def holds() -> bool:
        fault = zone.fault(now() - machine.origin_ns)
        return fault is not None and fault.kind == kind

    return holds
