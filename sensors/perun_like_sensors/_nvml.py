"""Calls of NVML: which of a GPU's values it gives, and by which function.

Imported only where there is a driver: the module ``pynvml`` of nvidia-ml-py takes 25 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pynvml as nv

from perun_like.sensing.contract import Missing
from perun_like_sensors._cuda import Device, Slice

NVMLError = nv.NVMLError
ALL = "all GPUs"
ENERGY, POWER, LOAD, MEMORY, CLOCK = "energy", "power", "gpu_util", "gpu_memory_used", "gpu_clock"

_FIELDS = {ENERGY: nv.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, POWER: nv.NVML_FI_DEV_POWER_INSTANT}
_MEMBERS = {
    nv.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    nv.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    nv.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    nv.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
}
_GA100 = (8, 0)
_MAXWELL = (5, 0)
_MEAN_NS = 1_000_000_000


class Call(NamedTuple):
    """One call and what it gives.

    Attributes:
        name: NVML's function.
        quantities: What it gives, in order.
        read: Returns one integer a quantity, None for one that can't be had now. Raises NVMLError.
        window_ns: Its power is the mean over this long; 0 for the value at an instant.
    """

    name: str
    quantities: tuple[str, ...]
    read: Callable[[], Sequence[int | None]]
    window_ns: int = 0


class Gpu(NamedTuple):
    """A GPU that has been asked.

    Attributes:
        number: NVML's index, in the order of the PCI bus.
        device: How CUDA may name it.
        calls: How its values are read; what isn't supported is left out.
        limit_w: The largest power limit that it can be given; None if it doesn't say.
        mig: Whether it is divided into MIG slices.
        units: Into how many compute slices MIG can divide it; 0 if it isn't divided.
        accuracy: Relative error of its power as NVIDIA documents it; None where it doesn't.
    """

    number: int
    device: Device
    calls: tuple[Call, ...]
    limit_w: float | None
    mig: bool
    units: int
    accuracy: float | None


def by_index(index: int) -> Any:
    """The handle of a GPU. Raises NVMLError."""
    return nv.nvmlDeviceGetHandleByIndex(index)


def by_bus(address: str) -> Any:
    """The handle of the GPU at a PCI address; touches no other GPU. Raises NVMLError."""
    return nv.nvmlDeviceGetHandleByPciBusId(address.encode())


def ask(handle: Any) -> Gpu:
    """What a GPU is, and what it gives. Raises NVMLError."""
    limits = _try(nv.nvmlDeviceGetPowerManagementLimitConstraints, handle)
    mode = _try(nv.nvmlDeviceGetMigMode, handle)
    mig = bool(mode and mode[0])
    cores = _try(nv.nvmlDeviceGetNumGpuCores, handle)
    clock = _try(nv.nvmlDeviceGetMaxClockInfo, handle, nv.NVML_CLOCK_SM)
    device = Device(
        uuid=str(nv.nvmlDeviceGetUUID(handle)),
        model=str(_try(nv.nvmlDeviceGetName, handle) or "NVIDIA GPU"),
        speed=(cores or 0) * (clock or 0),
        slices=_slices(handle) if mig else (),
    )
    number = int(nv.nvmlDeviceGetIndex(handle))
    limit_w = limits[1] / 1000 if limits else None
    return Gpu(number, device, tuple(calls(handle)), limit_w, mig, _units(handle) if mig else 0, _accuracy(handle))


def calls(handle: Any) -> Iterator[Call]:
    """The fewest calls that give all a GPU has, each tried once."""
    together = tuple(quantity for quantity in _FIELDS if _supported(_fields(handle, (quantity,))))
    if together:
        yield _fields(handle, together)
    for call in _single(handle):
        if call.quantities[0] not in together and _supported(call):
            yield call


def _fields(handle: Any, quantities: tuple[str, ...]) -> Call:
    """Energy and power in one call. Its time stamps are left: see docs/adr/0003."""
    numbers = [_FIELDS[quantity] for quantity in quantities]

    def read() -> list[int | None]:
        return [_value(field) for field in nv.nvmlDeviceGetFieldValues(handle, numbers)]

    return Call("nvmlDeviceGetFieldValues", quantities, read)


def _value(field: Any) -> int | None:
    member = _MEMBERS.get(field.valueType)
    return int(getattr(field.value, member)) if field.nvmlReturn == nv.NVML_SUCCESS and member else None


def _single(handle: Any) -> Iterator[Call]:
    """One function a quantity."""

    def of(quantity: str, name: str, value: Callable[[], Any], window_ns: int = 0) -> Call:
        return Call(name, (quantity,), lambda: (int(value()),), window_ns)

    yield of(ENERGY, "nvmlDeviceGetTotalEnergyConsumption", lambda: nv.nvmlDeviceGetTotalEnergyConsumption(handle))
    yield of(POWER, "nvmlDeviceGetPowerUsage", lambda: nv.nvmlDeviceGetPowerUsage(handle), _mean_ns(handle))
    yield of(LOAD, "nvmlDeviceGetUtilizationRates", lambda: nv.nvmlDeviceGetUtilizationRates(handle).gpu)
    yield of(MEMORY, "nvmlDeviceGetMemoryInfo", _memory(handle))
    yield of(CLOCK, "nvmlDeviceGetClockInfo", lambda: nv.nvmlDeviceGetClockInfo(handle, nv.NVML_CLOCK_SM))


def _mean_ns(handle: Any) -> int:
    """Over how long ``nvmlDeviceGetPowerUsage`` averages: a second since Ampere but for GA100, says its manual."""
    return _MEAN_NS if _capability(handle) > _GA100 else 0


def _accuracy(handle: Any) -> float | None:
    """5 % on Fermi and Kepler, says the manual of ``nvmlDeviceGetPowerUsage``, and nothing of later ones."""
    return 0.05 if () < _capability(handle) < _MAXWELL else None


def _capability(handle: Any) -> tuple[int, ...]:
    """CUDA's version of the hardware, such as (8, 0) for GA100; empty if it isn't known."""
    return tuple(_try(nv.nvmlDeviceGetCudaComputeCapability, handle) or ())


def _memory(handle: Any) -> Callable[[], int]:
    """Memory in use; without what the driver keeps for itself, where the second version of the call exists."""
    version = nv.nvmlMemory_v2 if _try(nv.nvmlDeviceGetMemoryInfo, handle, nv.nvmlMemory_v2) else None
    return lambda: int(nv.nvmlDeviceGetMemoryInfo(handle, version).used)


def _supported(call: Call) -> bool:
    try:
        values = call.read()
    except NVMLError:
        return False
    # An energy of 0 since the driver was loaded is that of a counter which doesn't run.
    return all(values) if ENERGY in call.quantities else None not in values


def _units(handle: Any) -> int:
    """Into how many compute slices MIG can divide a GPU: there can be one device of each."""
    return int(_try(nv.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)


def _slices(handle: Any) -> tuple[Slice, ...]:
    """A GPU's MIG slices, as far as this process may see them."""
    found = [(place, _try(nv.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)) for place in range(_units(handle))]
    return tuple(_slice(place, slice_) for place, slice_ in found if slice_ is not None)


def _slice(number: int, handle: Any) -> Slice:
    instances = _try(nv.nvmlDeviceGetGpuInstanceId, handle), _try(nv.nvmlDeviceGetComputeInstanceId, handle)
    attributes = _try(nv.nvmlDeviceGetAttributes_v2, handle)
    return Slice(
        uuid=str(_try(nv.nvmlDeviceGetUUID, handle)),
        place="" if None in instances else "{}/{}".format(*instances),
        number=number,
        # A GPU instance may hold several compute instances: what it has is divided again.
        units=int(attributes.computeInstanceSliceCount) if attributes else 0,
    )


def _try(function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns; None where NVML, the driver or the GPU doesn't support it."""
    try:
        return function(*args)
    except NVMLError:
        return None


def explain(error: Any) -> Missing:
    """Why NVML can't be used, and what would help."""
    reasons = {
        nv.NVML_ERROR_LIBRARY_NOT_FOUND: (
            "libnvidia-ml.so.1 can't be loaded, though there is an NVIDIA driver",
            "Install the driver's libraries; a container needs its GPUs passed through with the capability 'utility'.",
        ),
        nv.NVML_ERROR_DRIVER_NOT_LOADED: ("the NVIDIA driver isn't loaded", "Load it: modprobe nvidia."),
        nv.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "the NVIDIA driver and its library are of different versions",
            "Restart the machine, or load the new driver: one was updated without the other.",
        ),
        nv.NVML_ERROR_NO_PERMISSION: (
            "this user may not use the NVIDIA driver",
            "Ask for read and write permission on /dev/nvidia*.",
        ),
    }
    reason, remedy = reasons.get(error.value, (f"NVML fails: {error}", "See whether nvidia-smi works."))
    # A library without driver is common where jobs are only prepared: no program can use a GPU there.
    quiet = error.value == nv.NVML_ERROR_DRIVER_NOT_LOADED
    return Missing("nvml", ALL, reason, remedy, quiet, domains=("gpu",))
