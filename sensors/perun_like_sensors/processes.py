"""The application's processes: CPU time, memory and storage of the whole tree, as its members come and go."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.sensing import system
from perun_like.sensing.contract import COUNTER, GAUGE, Context, Found, Sensor
from perun_like_sensors._probe import ProbeReader, pick

_TICK_NS = 10_000_000  # the kernel accounts CPU time at its own tick, at most this long


class ProcessesBackend:
    """Everything is found everywhere: what can be read of a process is known only once it runs."""

    name = "processes"
    min_period_ns = 1_000_000_000

    def find(self, context: Context) -> Found:
        """CPU time, resident memory and its peak, number of processes, bytes read and written."""
        return Found(_sensors(context))

    def open(self, sensors: Sequence[Sensor], context: Context) -> ProbeReader:
        """Watch the trees of ``context.application_pids``; until there is one, all reads are None."""
        return ProbeReader([system.of(context).processes(context)], pick(sensors, _sensors(context)))


def _sensors(context: Context) -> list[Sensor]:
    here = system.of(context)
    tick_s = 1 / here.ticks_per_s
    return [  # in the order of System.processes
        _sensor("cpu_time", "cpu_time", COUNTER, "s", tick_s, "stat", ceiling=float(here.logical_cpus())),
        _sensor("rss", "memory_rss", GAUGE, "B", 1.0, "statm"),
        _sensor("rss_peak", "memory_rss_peak", GAUGE, "B", 1.0, "status"),
        _sensor("count", "processes", GAUGE, "1", 1.0, "stat"),
        _sensor("disk_read", "disk_read", COUNTER, "B", 1.0, "io"),
        _sensor("disk_written", "disk_written", COUNTER, "B", 1.0, "io"),
    ]


def _sensor(
    name: str, quantity: str, kind: str, unit: str, scale: float, file: str, *, ceiling: float | None = None
) -> Sensor:
    return Sensor(
        id=f"processes:{name}",
        backend="processes",
        group="application",
        quantity=quantity,
        kind=kind,
        unit=unit,
        scale=scale,
        tick_ns=_TICK_NS if unit == "s" else 0,
        ceiling=ceiling,
        identity=f"processes/{name}",
        source=f"/proc/<pid>/{file} of the application's processes",
    )
