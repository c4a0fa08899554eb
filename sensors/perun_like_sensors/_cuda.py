"""Which GPUs an application can see: CUDA_VISIBLE_DEVICES, which NVML ignores, in CUDA's order, which isn't NVML's.

The rules are those of the CUDA C++ programming guide, "CUDA environment variables": a list of numbers, of UUIDs or
unique beginnings of them, or of MIG slices; the first entry that names nothing ends the list. Numbers count in the
order of CUDA_DEVICE_ORDER: by PCI bus, as NVML counts, or the fastest first by a rule that isn't documented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

VARIABLE = "CUDA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"


class Slice(NamedTuple):
    """A MIG slice of a GPU as CUDA may name it, and how much of the GPU it is.

    Attributes:
        uuid: ``MIG-…``.
        place: Numbers of its GPU instance and compute instance, ``1/0``, by which it was named before driver 470.
        number: NVML's index among the GPU's slices.
        units: How many compute slices it has; 0 if it doesn't say.
    """

    uuid: str
    place: str = ""
    number: int = 0
    units: int = 0


class Device(NamedTuple):
    """A GPU as CUDA may name it.

    Attributes:
        uuid: ``GPU-…``; empty if it couldn't be asked.
        model: Its product's name; GPUs of one model are equally fast.
        speed: Any figure that is larger for a faster GPU.
        slices: Its MIG slices.
    """

    uuid: str
    model: str
    speed: int = 0
    slices: Sequence[Slice] = ()


class Visible(NamedTuple):
    """Which GPUs an application can see.

    Attributes:
        indices: NVML's indices of these GPUs.
        doubt: Why it may be others; empty if that is certain.
        slices: UUIDs of the MIG slices, of those of them that are divided.
    """

    indices: frozenset[int]
    doubt: str = ""
    slices: frozenset[str] = frozenset()


def visible(environ: Mapping[str, str], devices: Mapping[int, Device]) -> Visible:
    """Which GPUs an application can see.

    Args:
        environ: The application's environment.
        devices: All GPUs of the host by NVML's index, which is in the order of the PCI bus.
    """
    listed = environ.get(VARIABLE)
    if listed is None:
        return Visible(frozenset(devices), slices=frozenset(of.uuid for one in devices.values() for of in one.slices))
    order, certain = _order(environ, devices)
    indices: list[int] = []
    slices: list[str] = []
    by_number = False
    for entry in listed.split(","):
        name = entry.strip()
        index = _named(name, order, devices)
        if index is None:
            break
        indices.append(index)
        slices += _slices_named(name, devices[index])
        by_number |= name.isdecimal()
    chosen = frozenset(indices)
    doubtful = by_number and not certain and chosen != frozenset(devices)
    return Visible(chosen, _doubt(chosen) if doubtful else "", frozenset(slices))


def _order(environ: Mapping[str, str], devices: Mapping[int, Device]) -> tuple[list[int], bool]:
    """NVML's indices in the order in which CUDA counts, and whether that is certain."""
    by_bus = sorted(devices)
    alike = len({device.model for device in devices.values()}) < 2
    if alike or environ.get(_ORDER) == "PCI_BUS_ID":
        return by_bus, True
    return sorted(by_bus, key=lambda index: -devices[index].speed), False


def _named(name: str, order: Sequence[int], devices: Mapping[int, Device]) -> int | None:
    """The index of the GPU that an entry names; None if it names none."""
    if name.isdecimal():
        return order[int(name)] if int(name) < len(order) else None
    wanted = name.lower()
    if wanted.startswith("mig-gpu-"):  # MIG-GPU-<uuid>/<GPU instance>/<compute instance>, before driver 470
        wanted = wanted.removeprefix("mig-").partition("/")[0]
    names = {index: (device.uuid, *(of.uuid for of in device.slices)) for index, device in devices.items()}
    if not wanted.startswith(("gpu-", "mig-")):
        return None
    found = [index for index, of in names.items() if any(one.lower().startswith(wanted) for one in of)]
    # What no known GPU is called may be one that couldn't be asked.
    found = found or [index for index, device in devices.items() if not device.uuid]
    return found[0] if len(found) == 1 else None


def _slices_named(name: str, device: Device) -> list[str]:
    """Which of a GPU's MIG slices an entry names that names this GPU: all, if it names the whole."""
    wanted = name.lower()
    if not wanted.startswith("mig-"):
        return [of.uuid for of in device.slices]
    place = wanted.partition("/")[2]
    return [of.uuid for of in device.slices if (of.place == place if place else of.uuid.lower().startswith(wanted))]


def _doubt(chosen: frozenset[int]) -> str:
    which = ", ".join(str(index) for index in sorted(chosen))
    return f"{VARIABLE} counts GPUs of several models, the fastest first by a rule of CUDA's: taken as {which} here"
