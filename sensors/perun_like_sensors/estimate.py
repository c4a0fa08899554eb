"""Energy of processors and memory where no counter can be read: a model, with the range it may be wrong in.

Each coefficient is three numbers, ``[lower, value, upper]``, and the energy of a window is
``idle_w * seconds + active_w_per_cpu * busy CPU seconds`` for each of the three.

The values are those of Cloud Carbon Footprint (Apache-2.0, version 0.15.0 of its package ``aws``), which derived them
from the results of SPECpower_ssj2008: 0.74 W a logical CPU when idle and 3.5 W when busy on average, and from 0.47
to 3.04 W and from 1.69 to 8.58 W over the microarchitectures; 0.392 W per GB of memory, from its makers' figures.
``sensors/README.md`` says how the ranges were made of that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perun_like.sensing import system
from perun_like.sensing.contract import COUNTER, ESTIMATED, Context, Found, Missing, Sensor
from perun_like.sensing.system import System
from perun_like_sensors._probe import ProbeReader

Range = tuple[float, float, float]  # lower, value, upper

IDLE_W_PER_CPU: Range = (0.1, 0.74, 3.04)
ACTIVE_W_PER_CPU: Range = (0.6, 2.76, 12.8)  # on top of idle
MEMORY_W_PER_GB: Range = (0.03, 0.392, 0.8)

# Shares of a known TDP, the power that all CPUs together may take for long.
TDP_IDLE: Range = (0.05, 0.15, 0.5)
TDP_ACTIVE: Range = (0.45, 0.85, 0.8)  # on top of idle: full load is from 50 to 130 % of the TDP

_SOURCE = "Cloud Carbon Footprint 0.15.0 (Apache-2.0)"
_CPU_SOURCE = f"{_SOURCE}, from results of SPECpower_ssj2008"
_DRAM_SOURCE = f"{_SOURCE}, from makers' figures"
_TICK_NS = 10_000_000  # the kernel accounts CPU time at its own tick, at most this long


class EstimateBackend:
    """Counts busy CPU time for a model of the processors' energy, and nothing for that of memory."""

    name = "estimate"
    domains = ("package", "dram")
    min_period_ns = 100_000_000

    def find(self, context: Context) -> Found:
        """``estimate:cpu`` and ``estimate:dram``, unless the system tells neither load nor size."""
        here = system.of(context)
        sensors: list[Sensor] = []
        missing: list[Missing] = []
        if None in _read_once(here, "cpu_busy"):
            why = "the system doesn't say how busy its CPUs are"
            missing.append(Missing("estimate", "estimate:cpu", why, domains=("package",)))
        else:
            sensors.append(_cpu(here, context))
        memory_b = [value for value in _read_once(here, "memory") if value is not None]
        if memory_b:
            sensors.append(_dram(sum(memory_b), context))
        else:
            why = "the system doesn't say how much memory it has"
            missing.append(Missing("estimate", "estimate:dram", why, domains=("dram",)))
        return Found(sensors, missing)

    def open(self, sensors: Sequence[Sensor], context: Context) -> ProbeReader:
        """Hold /proc/stat."""
        wanted = [0 if sensor.id == "estimate:cpu" else 1 for sensor in sensors]
        return ProbeReader([system.of(context).cpu_busy(), Zero()], wanted)


class Zero:
    """The model of memory depends on time alone: its counter stands still."""

    def read(self) -> tuple[int]:
        """Nothing to count."""
        return (0,)

    def close(self) -> None:
        """Nothing is held."""


def _read_once(here: System, what: str) -> Sequence[int | None]:
    probe = here.cpu_busy() if what == "cpu_busy" else here.memory()
    try:
        return probe.read()
    finally:
        probe.close()


def _cpu(here: System, context: Context) -> Sensor:
    cpus = here.logical_cpus()
    return _sensor("cpu", "package", _cpu_model(cpus, context), 1 / here.ticks_per_s, float(cpus))


def _cpu_model(cpus: int, context: Context) -> dict[str, Any]:
    """Coefficients for this many logical CPUs, and the assumptions in one line."""
    tdp_w = context.cpu_tdp_w
    if tdp_w is None:
        idle_w = [cpus * watts for watts in IDLE_W_PER_CPU]
        active_w_per_cpu = list(ACTIVE_W_PER_CPU)
        source = _CPU_SOURCE
        busy_w = tuple(idle + active for idle, active in zip(IDLE_W_PER_CPU, ACTIVE_W_PER_CPU, strict=True))
        text = f"{cpus} logical CPUs of {_told(IDLE_W_PER_CPU)} W idle and {_told(busy_w)} W busy, as in servers"
        text += "" if is_virtual(context) else "; --cpu-tdp narrows it"
    else:
        idle_w = [tdp_w * share for share in TDP_IDLE]
        active_w_per_cpu = [tdp_w * share / cpus for share in TDP_ACTIVE]
        source = "--cpu-tdp"
        busy = tuple(100 * (idle + active) for idle, active in zip(TDP_IDLE, TDP_ACTIVE, strict=True))
        idle = tuple(100 * share for share in TDP_IDLE)
        text = f"{cpus} logical CPUs, together {_told(busy)} % of {tdp_w:g} W busy and {_told(idle)} % idle"
    text += _of_what(context, "the logical CPUs")
    return {
        "idle_w": idle_w,
        "active_w_per_cpu": active_w_per_cpu,
        "logical_cpus": cpus,
        "source": source,
        "text": text,
    }


def _dram(memory_b: int, context: Context) -> Sensor:
    gigabytes = memory_b / 1e9
    model = {
        "idle_w": [gigabytes * watts for watts in MEMORY_W_PER_GB],
        "active_w_per_cpu": [0.0, 0.0, 0.0],
        "memory_b": memory_b,
        "source": _DRAM_SOURCE,
        "text": f"{gigabytes:.3g} GB of memory at {_told(MEMORY_W_PER_GB)} W/GB, busy or idle"
        + _of_what(context, "the memory"),
    }
    return _sensor("dram", "dram", model, 1.0, 0.0)


def _told(figures: tuple[float, ...]) -> str:
    """``0.74 (0.1 to 3.04)``."""
    low, middle, high = (f"{figure:.3g}" for figure in figures)
    return f"{middle} ({low} to {high})"


def _of_what(context: Context, what: str) -> str:
    """In a virtual machine the rest of the machine below isn't ours to estimate."""
    return f"; only {what} of this virtual machine" if is_virtual(context) else ""


def is_virtual(context: Context) -> bool:
    """Whether the processor says that a hypervisor runs below."""
    try:
        with open(f"{context.proc_root}/cpuinfo", "rb") as file:
            return b" hypervisor" in file.read(1 << 14)  # the first processor's flags
    except OSError:
        return False


def _sensor(name: str, domain: str, model: Mapping[str, Any], scale: float, ceiling: float) -> Sensor:
    return Sensor(
        id=f"estimate:{name}",
        backend="estimate",
        group=name,
        quantity="energy",
        kind=COUNTER,
        unit="s",
        scale=scale,
        tick_ns=_TICK_NS if ceiling else 0,
        ceiling=ceiling,
        domain=domain,
        identity=f"estimate/{name}",
        provenance=ESTIMATED,
        source="/proc/stat" if ceiling else "/proc/meminfo",
        model=model,
    )
