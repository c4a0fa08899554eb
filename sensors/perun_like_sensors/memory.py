"""Memory of the host: used and available."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.sensing import system
from perun_like.sensing.contract import GAUGE, Context, Found, Sensor
from perun_like_sensors._probe import ProbeReader, pick, readable


class MemoryBackend:
    """The host's memory as the kernel accounts for it; the limits of a container aren't looked at."""

    name = "memory"
    min_period_ns = 100_000_000

    def find(self, context: Context) -> Found:
        """``memory:used`` and ``memory:available``."""
        probe = system.of(context).memory()
        return readable([probe], _sensors(context), "the system doesn't say how much memory is available")

    def open(self, sensors: Sequence[Sensor], context: Context) -> ProbeReader:
        """Hold /proc/meminfo."""
        return ProbeReader([system.of(context).memory()], pick(sensors, _sensors(context)))


def _sensors(context: Context) -> list[Sensor]:
    return [
        Sensor(
            id=f"memory:{what}",
            backend="memory",
            group="memory",
            quantity=f"memory_{what}",
            kind=GAUGE,
            unit="B",
            resolution=1024,
            identity=f"memory/{what}",
            source=f"{context.proc_root}/meminfo",
        )
        for what in ("used", "available")
    ]
