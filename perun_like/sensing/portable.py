"""Readings through psutil, for systems without Linux's ``/proc``: what psutil gives there, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psutil

from perun_like.sensing.contract import Context

_TICKS_PER_S = 100


class PortableSystem:
    """See :class:`perun_like.sensing.system.System`."""

    ticks_per_s = _TICKS_PER_S

    def logical_cpus(self) -> int:
        """As psutil counts them; 1 if it can't tell."""
        return psutil.cpu_count() or 1

    def cpu_busy(self) -> Call:
        """All of psutil's times but those in which the CPU was idle or another's."""
        return Call(_cpu_busy, 1)

    def memory(self) -> Call:
        """Total less available, and available."""
        return Call(_memory, 2)

    def disks(self) -> Call:
        """Physical disks as psutil tells them apart."""
        return Call(_disks, 2)

    def network(self) -> Call:
        """All interfaces but the loopback."""
        return Call(_network, 2)

    def processes(self, context: Context) -> Call:
        """Live processes only: the time of those that ended is lost where the system doesn't hand it on."""
        return Call(lambda: _tree(context.application_pid), 6)


class Call:
    """A probe that is a function; None for all its values where psutil can't answer."""

    def __init__(self, function: Callable[[], Sequence[int | None]], size: int) -> None:
        self._function = function
        self._size = size

    def read(self) -> Sequence[int | None]:
        """The function's values."""
        try:
            return self._function()
        except (psutil.Error, OSError, AttributeError, NotImplementedError):
            return (None,) * self._size

    def close(self) -> None:
        """Nothing is held."""


def _cpu_busy() -> list[int | None]:
    times: dict[str, float] = psutil.cpu_times()._asdict()
    busy = sum(times.get(key, 0.0) for key in ("user", "nice", "system", "irq", "softirq"))
    return [round(busy * _TICKS_PER_S)]


def _memory() -> list[int | None]:
    memory = psutil.virtual_memory()
    return [memory.total - memory.available, memory.available]


def _disks() -> list[int | None]:
    disks = psutil.disk_io_counters(nowrap=False)  # nowrap=True is state shared by the whole process
    return [disks.read_bytes, disks.write_bytes] if disks else [None, None]


def _network() -> list[int | None]:
    interfaces: dict[str, Any] = psutil.net_io_counters(pernic=True, nowrap=False)
    counted = [counters for name, counters in interfaces.items() if not name.startswith("lo")]
    if not counted:
        return [None, None]
    return [sum(counters.bytes_recv for counters in counted), sum(counters.bytes_sent for counters in counted)]


def _tree(pid: int | None) -> list[int | None]:
    if pid is None:
        return [None] * 6
    root = psutil.Process(pid)
    ticks, rss_b, count = 0, 0, 0
    for process in [root, *root.children(recursive=True)]:
        try:
            times, memory = process.cpu_times(), process.memory_info()
        except psutil.Error:
            continue  # it ended meanwhile
        ticks += round((times.user + times.system + times.children_user + times.children_system) * _TICKS_PER_S)
        rss_b += memory.rss
        count += 1
    return [ticks, rss_b, None, count, None, None]
