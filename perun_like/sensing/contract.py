"""What a sensor is, and what a backend does. Everything a backend's author needs is on this page.

A backend is a family of sensors with one way of being read. To add one, write a class with the two methods of
:class:`Backend` and name it in your package's metadata::

    [project.entry-points."perun_like.sensors"]
    mine = "my_package.my_module:MyBackend"

It is constructed without arguments and used inside the sampling process only: ``find`` once, ``open`` once, then
``read`` of the reader on a time grid, always from one thread. A backend that raises is reported, never fatal.

This module is imported by the sampling process before the application starts: it stays light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

# Each constant is a plain string so that it goes into JSON and HDF5 as it is.
COUNTER = "counter"  # monotonic, wraps at a known modulus
GAUGE = "gauge"  # a value at an instant
MEASURED = "measured"
ESTIMATED = "estimated"

ADDED_DOMAINS = ("package", "dram", "gpu")  # domains of energy that a host's total is made of


class Sensor(NamedTuple):
    """One readable quantity of one physical thing.

    Attributes:
        id: Unique on a host, ``backend:name``, for example ``rapl:package-0``.
        backend: Name of the backend that reads it.
        group: Device group it is shown under: ``cpu``, ``dram``, ``gpu``, ``platform``, ``memory``, ``disk``,
            ``network`` or ``application``.
        quantity: What it says, for example ``energy``, ``power``, ``cpu_time``, ``memory_used``, ``disk_read``.
        kind: ``counter`` or ``gauge``.
        unit: SI unit of ``raw * scale``: ``J``, ``W``, ``B``, ``s``, ``Hz``, ``%`` or ``1``.
        scale: Factor from the raw integer to ``unit``.
        modulus: A counter wraps from ``modulus - 1`` to 0, in raw units; None where it can't wrap in practice.
        resolution: Smallest step, in raw units.
        tick_ns: A read may show a value up to ``tick_ns + lag_ns`` old: the longest period in which the device updates
            it, a counter of energy as a whole.
        lag_ns: … and how long after the update it can be read.
        ceiling: Largest rate a counter can have, in ``unit`` per second (watts for energy); None if unknown.
        domain: Which physical domain it counts, for overlap: ``package``, ``core``, ``uncore``, ``dram``, ``psys``,
            ``gpu``, ``slice`` of a GPU, …; None for what is never summed. A gauge of power that has a domain stands for
            an energy, its integral: where a device has no counter.
        identity: The physical thing, the same for two sensors that read one thing (a zone, a UUID).
        parent: ``identity`` of the thing whose counter contains this one; None if none does.
        provenance: ``measured`` or ``estimated``.
        accuracy: Relative error of the device itself as documented for it; None if unknown.
        source: The file or call that is read.
        model: For an estimate, its coefficients and their source; empty otherwise. One with a ``share`` reads what
            ``parent`` does, with a ``scale`` that has the share in it: from nothing to all of it may be true.
        window_ns: A gauge shows the mean over this long before its update; 0 for the value at an instant.
        outside: Why no total has it although it measures energy, as a GPU that the application can't see; empty for
            all others.
    """

    id: str
    backend: str
    group: str
    quantity: str
    kind: str
    unit: str
    scale: float = 1.0
    modulus: int | None = None
    resolution: int = 1
    tick_ns: int = 0
    lag_ns: int = 0
    ceiling: float | None = None
    domain: str | None = None
    identity: str = ""
    parent: str | None = None
    provenance: str = MEASURED
    accuracy: float | None = None
    source: str = ""
    model: Mapping[str, Any] = {}
    window_ns: int = 0
    outside: str = ""


class Missing(NamedTuple):
    """Something that can't be read here: what, why, and what would help.

    Attributes:
        backend: Who would read it.
        what: Ids of the sensors or devices, separated by ``, ``, or words for all of them.
        reason: Why it can't be read.
        remedy: What would help; empty where nothing would.
        quiet: Whether it is told only to those who ask, as most machines lack it: no report warns of it.
        domains: The domains of energy (``ADDED_DOMAINS``) that a total lacks because of it: one for each id in
            ``what``, empty for an id that no total has; or, beside words, all that these stand for. If it is ``quiet``
            no total says that it lacks them: it is only told where there is none of that energy.
    """

    backend: str
    what: str
    reason: str
    remedy: str = ""
    quiet: bool = False
    domains: tuple[str, ...] = ()

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Missing:
        """From plain values, as JSON keeps them; what an older version didn't write has its default."""
        known = {name: facts[name] for name in cls._fields if name in facts}
        return cls(**known)._replace(domains=tuple(facts.get("domains", ())))


class Found(NamedTuple):
    """What a backend can read here, and what it can't."""

    sensors: Sequence[Sensor]
    missing: Sequence[Missing] = ()


class Context:
    """Where and for whom to read: roots, environment and options are given, never assumed.

    Attributes:
        powercap_root: Directory of the powercap tree, ``/sys/class/powercap`` on a real machine.
        proc_root: ``/proc``, or a captured tree.
        sys_root: ``/sys``, or a captured tree.
        environ: The application's environment.
        cpu_tdp_w: What the user says the CPUs of this host draw at full load, in watts; None if unsaid.
        application_pids: The application's first processes, one a rank or round, as they are started.
        run_token: What the environment variable ``PERUN_RUN`` begins with, which all its processes inherit.
    """

    def __init__(
        self,
        *,
        powercap_root: str = "/sys/class/powercap",
        proc_root: str = "/proc",
        sys_root: str = "/sys",
        environ: Mapping[str, str] | None = None,
        cpu_tdp_w: float | None = None,
        run_token: str = "",
    ) -> None:
        self.powercap_root = powercap_root
        self.proc_root = proc_root
        self.sys_root = sys_root
        self.environ: Mapping[str, str] = environ or {}
        self.cpu_tdp_w = cpu_tdp_w
        self.run_token = run_token
        self.application_pids: list[int] = []

    @property
    def application_pid(self) -> int | None:
        """The first of its processes; None until it has been started."""
        return self.application_pids[0] if self.application_pids else None

    def watch(self, pid: int) -> None:
        """The application has a process more."""
        if pid not in self.application_pids:
            self.application_pids.append(pid)


class Reader(Protocol):
    """Open sensors, read together: one call is one sweep."""

    def read(self) -> Sequence[int | None]:
        """Raw integers in the order the sensors were given to ``open``; None where a read failed.

        A value that could not be read is None, never 0. Raising means that the whole sweep failed.
        """
        ...

    def close(self) -> None:
        """Give back descriptors and libraries."""
        ...


class Backend(Protocol):
    """A family of sensors with one way of being read.

    A class whose sensors belong in totals of energy names their domains, ``domains = ("gpu",)``: if it fails as a whole
    or isn't ready in time, the totals say that they lack it.
    """

    name: str
    min_period_ns: int  # reading more often than this costs more than it tells

    def find(self, context: Context) -> Found:
        """What can be read here, and what can't, with reason and remedy.

        Keeps nothing open but what ``open`` would have to open again; that is given back when its reader is closed.
        """
        ...

    def open(self, sensors: Sequence[Sensor], context: Context) -> Reader:
        """Open some of the found sensors for reading."""
        ...
