"""What the host's processors, disks and network interfaces do, all processes together.

Busy CPU time leaves out what a hypervisor gave to others (steal) and waiting for input and output. Bytes of disks
and interfaces are counted at the hardware: not again at a partition, a volume, a bridge or a bond.
"""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.sensing import system
from perun_like.sensing.contract import COUNTER, Context, Found, Sensor
from perun_like.sensing.system import Probe, System
from perun_like_sensors._probe import ProbeReader, pick, readable

_TICK_NS = 10_000_000  # the kernel accounts CPU time at its own tick, at most this long


class HostBackend:
    """CPU time and the traffic of disks and network."""

    name = "host"
    min_period_ns = 1_000_000_000

    def find(self, context: Context) -> Found:
        """``host:cpu_busy``, ``host:disk_read``, ``host:disk_written``, ``host:net_recv``, ``host:net_sent``."""
        here = system.of(context)
        reason = f"no such device is visible under {context.sys_root}"
        return readable(_probes(here), _sensors(here), reason, "In a container, mount the host's /sys read-only.")

    def open(self, sensors: Sequence[Sensor], context: Context) -> ProbeReader:
        """Hold /proc/stat and the statistics of each disk and interface; later ones aren't counted."""
        here = system.of(context)
        return ProbeReader(_probes(here), pick(sensors, _sensors(here)))


def _probes(here: System) -> list[Probe]:
    return [here.cpu_busy(), here.disks(), here.network()]


def _sensors(here: System) -> list[Sensor]:
    cpu = Sensor(
        id="host:cpu_busy",
        backend="host",
        group="cpu",
        quantity="cpu_busy",
        kind=COUNTER,
        unit="s",
        scale=1 / here.ticks_per_s,
        tick_ns=_TICK_NS,
        ceiling=float(here.logical_cpus()),
        identity="host/cpu_busy",
        source="/proc/stat: user, nice, system, irq, softirq",
    )
    disk, net = "/sys/block/*/stat", "/sys/class/net/*/statistics"
    return [
        cpu,
        _bytes("disk_read", "disk", 512, disk),
        _bytes("disk_written", "disk", 512, disk),
        _bytes("net_recv", "network", 1, net),
        _bytes("net_sent", "network", 1, net),
    ]


def _bytes(quantity: str, group: str, resolution: int, source: str) -> Sensor:
    return Sensor(
        id=f"host:{quantity}",
        backend="host",
        group=group,
        quantity=quantity,
        kind=COUNTER,
        unit="B",
        resolution=resolution,
        identity=f"host/{quantity}",
        source=source,
    )
