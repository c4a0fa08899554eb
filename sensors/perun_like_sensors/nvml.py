"""NVIDIA GPUs: energy, power, load, memory and clock of each, through the driver's library NVML."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from perun_like.sensing.contract import COUNTER, ESTIMATED, GAUGE, Context, Found, Missing, Reader, Sensor
from perun_like_sensors._cuda import VARIABLE, Device, Slice, visible
from perun_like_sensors._probe import ProbeReader

if TYPE_CHECKING:
    from perun_like_sensors._nvml import Call, Gpu

# Energy and power are updated every 20 to 100 ms, depending on the model; nothing tells which.
TICK_NS = 100_000_000
# A larger step is damage. Ten times the power limit, as an update that is late brings several at once.
_BURST = 10
_DEFAULT_LIMIT_W = 1000.0

_LIBRARY = "libnvidia-ml.so.1"
_LOADER_CACHE = "/etc/ld.so.cache"
_OUTSIDE = f"not visible to the application ({VARIABLE})"
# Quantity: name in ids, unit, factor.
_VALUES = {
    "energy": ("energy", "J", 1e-3),
    "power": ("power", "W", 1e-3),
    "gpu_util": ("util", "%", 1.0),
    "gpu_memory_used": ("memory_used", "B", 1.0),
    "gpu_clock": ("clock", "Hz", 1e6),
}


class NvmlBackend:
    """Finds the NVIDIA GPUs of this machine. Those that the application can't see are read, but never added."""

    name = "nvml"
    domains = ("gpu",)
    min_period_ns = 20_000_000  # there is nothing new to read more often

    def __init__(self) -> None:
        self._let_go: Callable[[], None] | None = None  # gives back what find leaves open

    def find(self, context: Context) -> Found:
        """Sensors of each GPU; a machine without a driver costs three looks at the file system."""
        if not _has_driver(context):
            return Found((), (Missing("nvml", "all GPUs", "no NVIDIA driver here", quiet=True, domains=self.domains),))
        awake, asleep = _by_power(context)
        if asleep and not awake:
            return _described([], [], asleep, context)
        try:
            from perun_like_sensors import _nvml_session  # the module pynvml takes 25 ms
        except ImportError as error:
            remedy = "Install the package nvidia-ml-py."
            return Found((), (Missing("nvml", "all GPUs", str(error), remedy, domains=self.domains),))
        gpus, missing = _nvml_session.survey(awake if asleep else None)
        if not gpus and missing:
            return Found((), missing)
        if gpus:
            self._release()
            self._let_go = _nvml_session.let_go
        return _described(gpus, missing, asleep, context)

    def open(self, sensors: Sequence[Sensor], context: Context) -> Reader:  # noqa: ARG002  # the contract's signature
        """Open the driver and the GPUs of these sensors. One that is lost by now reads as None."""
        try:
            return _reader(sensors)
        finally:
            self._release()

    def _release(self) -> None:
        if self._let_go is not None:
            self._let_go()
            self._let_go = None


def _reader(sensors: Sequence[Sensor]) -> Reader:
    if not sensors:
        return ProbeReader((), ())  # where there is no library there are no sensors either
    from perun_like_sensors import _nvml_session

    return _nvml_session.NvmlReader(sensors)


def _has_driver(context: Context) -> bool:
    """Whether it is worth asking: a driver, or a library that knows one, as in WSL."""
    if os.path.isdir(f"{context.proc_root}/driver/nvidia"):
        return True
    folders = context.environ.get("LD_LIBRARY_PATH", "").split(":")
    if any(os.path.exists(f"{folder}/{_LIBRARY}") for folder in folders if folder):
        return True
    try:
        with open(_LOADER_CACHE, "rb") as file:
            return _LIBRARY.encode() in file.read()
    except OSError:
        return False


def _by_power(context: Context) -> tuple[list[str], dict[int, str]]:
    """PCI addresses of GPUs that are awake, and by NVML's index of those that are suspended."""
    devices = f"{context.sys_root}/bus/pci"
    try:
        addresses = sorted(name for name in os.listdir(f"{devices}/drivers/nvidia") if ":" in name)
    except OSError:
        return [], {}  # no PCI, or no such driver: NVML says what there is
    asleep = {
        index: address
        for index, address in enumerate(addresses)
        if _line(f"{devices}/devices/{address}/power/runtime_status").startswith("suspend")
    }
    return [address for address in addresses if address not in asleep.values()], asleep


def _line(path: str) -> str:
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return ""


def _described(gpus: Sequence[Gpu], missing: Sequence[Missing], asleep: dict[int, str], context: Context) -> Found:
    """Sensors of all GPUs that were asked, and what the application can see and nobody can measure."""
    devices = {index: Device("", "") for index in asleep} | {gpu.number: gpu.device for gpu in gpus}
    seen, doubt, slices = visible(context.environ, devices)
    lacking = [*missing]
    for gpu in gpus:
        lacking += _lacks(gpu, slices) if gpu.number in seen else ()
    lacking += [_suspended(index, address) for index, address in asleep.items() if index in seen]
    if not devices:
        lacking.append(Missing("nvml", "all GPUs", "the NVIDIA driver shows no GPU", quiet=True, domains=("gpu",)))
    elif not seen:
        reason = f"the application sees none of them ({VARIABLE})"
        lacking.append(Missing("nvml", "all GPUs", reason, quiet=True, domains=("gpu",)))
    if doubt:
        remedy = "Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPUs by UUID."
        lacking.append(Missing("nvml", "the order of GPUs", doubt, remedy))
    return Found([sensor for gpu in gpus for sensor in _sensors(gpu, gpu.number in seen, slices)], lacking)


def _suspended(index: int, address: str) -> Missing:
    reason = f"the GPU at {address} is suspended, and reading would wake it"
    remedy = f"If the program doesn't use it, set {VARIABLE} so; if it does, wake the GPU before the run (nvidia-smi)."
    return Missing("nvml", f"nvml:gpu{index}", reason, remedy, domains=("gpu",))


def _lacks(gpu: Gpu, slices: frozenset[str]) -> Iterator[Missing]:
    """What a GPU doesn't give."""
    given = {quantity for call in gpu.calls for quantity in call.quantities}
    name = f"nvml:gpu{gpu.number}"
    if not given & {"energy", "power"}:
        reason = f"this GPU ({gpu.device.model}) shows neither its energy nor its power"
        yield Missing("nvml", name, reason, domains=("gpu",))
    others = [f"{name}/{_VALUES[quantity][0]}" for quantity in ("gpu_util", "gpu_memory_used") if quantity not in given]
    if others:
        why = "not known while MIG divides the GPU" if gpu.mig else f"this GPU ({gpu.device.model}) doesn't show it"
        yield Missing("nvml", ", ".join(others), why, quiet=True)
    if gpu.mig and sum(of.units for of in gpu.device.slices if of.uuid in slices) < gpu.units:
        reason = "NVML knows the energy of whole GPUs only: what the application can't see of it is part of the total"
        yield Missing("nvml", f"MIG slices of GPU {gpu.number}", reason)


def _sensors(gpu: Gpu, seen: bool, slices: frozenset[str]) -> Iterator[Sensor]:
    """A GPU's sensors with those of its visible MIG slices; only its energy if the application can't see it."""
    given = {quantity: call for call in gpu.calls for quantity in call.quantities}
    counted = "energy" in given
    for quantity, call in given.items():
        is_energy = quantity == "energy" or (quantity == "power" and not counted)
        if seen or is_energy:
            whole = _sensor(gpu, quantity, call, domain="gpu" if is_energy else None, outside="" if seen else _OUTSIDE)
            yield whole
            if is_energy:
                yield from (_share(whole, gpu, of) for of in gpu.device.slices if of.uuid in slices and of.units)


def _share(whole: Sensor, gpu: Gpu, of: Slice) -> Sensor:
    """The energy of a MIG slice: nobody measures it, and this is its share of what is measured."""
    share = min(of.units / gpu.units, 1.0)
    text = f"{of.units} of {gpu.units} compute slices: that share of the GPU's energy, whichever of them were busy"
    return whole._replace(
        id=f"{whole.id}/mig{of.number}",
        scale=whole.scale * share,
        ceiling=None if whole.ceiling is None else whole.ceiling * share,
        domain="slice",
        identity=of.uuid,
        parent=whole.identity,
        provenance=ESTIMATED,
        accuracy=None,
        model={"share": share, "text": text, "source": "the number of compute slices, from NVML"},
    )


def _sensor(gpu: Gpu, quantity: str, call: Call, domain: str | None, outside: str) -> Sensor:
    name, unit, scale = _VALUES[quantity]
    electric = quantity in ("energy", "power")
    return Sensor(
        id=f"nvml:gpu{gpu.number}/{name}",
        backend="nvml",
        group="gpu",
        quantity=quantity,
        kind=COUNTER if quantity == "energy" else GAUGE,
        unit=unit,
        scale=scale,
        tick_ns=TICK_NS if electric else 0,
        ceiling=_BURST * (gpu.limit_w or _DEFAULT_LIMIT_W) if quantity == "energy" else None,
        domain=domain,
        identity=gpu.device.uuid,
        accuracy=gpu.accuracy if quantity == "power" else None,
        source=f"{gpu.device.model}: {call.name}",
        window_ns=call.window_ns,
        outside=outside,
    )
