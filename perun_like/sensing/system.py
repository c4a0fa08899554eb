"""The one door to the operating system: readings of the host and of a process tree.

Two implementations stand behind it. ``linux`` and ``linux_processes`` read ``/proc`` and ``/sys`` directly, which
costs microseconds; ``portable`` asks psutil, for systems without a ``/proc`` of Linux's kind. Backends ask
:func:`of` and need not know which one they got.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from perun_like.sensing.contract import Context


class Probe(Protocol):
    """A few values of the system that are read together."""

    def read(self) -> Sequence[int | None]:
        """The values now; None for one that can't be read."""
        ...

    def close(self) -> None:
        """Give back what is held. A second call does nothing."""
        ...


class System(Protocol):
    """What a host can be asked.

    Attributes:
        ticks_per_s: Unit of CPU times: one tick is ``1 / ticks_per_s`` seconds.
    """

    ticks_per_s: int

    def logical_cpus(self) -> int:
        """Logical CPUs that are online."""
        ...

    def cpu_busy(self) -> Probe:
        """One counter, ticks: time in which a logical CPU ran something, summed over all of them.

        Waiting for input or output is idle time, and so is time that a hypervisor gave to others (steal): this
        host's work didn't run in it. Guests' time is in it, as part of the time of the process that runs them.
        """
        ...

    def memory(self) -> Probe:
        """Two gauges, bytes: used, available. Used is all memory but the available."""
        ...

    def disks(self) -> Probe:
        """Two counters, bytes: read from and written to physical disks since boot."""
        ...

    def network(self) -> Probe:
        """Two counters, bytes: received and sent through physical interfaces since they came up."""
        ...

    def processes(self, context: Context) -> Probe:
        """The application's process tree.

        Six values: counter of CPU time (ticks), resident memory (bytes), sum of each process's largest
        resident memory (bytes), number of processes, counters of bytes read from and written to storage.
        All are None while ``context`` knows none.
        """
        ...


def of(context: Context) -> System:
    """The implementation for this machine, or for the captured tree that the context points to."""
    if os.path.exists(f"{context.proc_root}/stat"):
        from perun_like.sensing.linux import LinuxSystem

        return LinuxSystem(context.proc_root, context.sys_root)
    from perun_like.sensing.portable import PortableSystem  # psutil takes 23 ms to import: only where needed

    return PortableSystem()
