"""NVML while it is open: once to ask every GPU, then to read some of their values on a time grid.

Starting the driver takes its time, and NVML counts who uses it. So a survey that found GPUs leaves it open, for the
reader that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pynvml as nv

from perun_like.sensing.contract import Missing, Sensor
from perun_like_sensors._nvml import Call, Gpu, NVMLError, ask, by_bus, by_index, calls, explain


def survey(addresses: Sequence[str] | None) -> tuple[list[Gpu], list[Missing]]:
    """Ask every GPU what it is and gives. If there is any, NVML stays open until :func:`let_go`.

    Args:
        addresses: PCI addresses of those that may be touched; None for all.

    Returns:
        GPUs in the order of their indices, and why others couldn't be asked.
    """
    gpus: list[Gpu] = []
    try:
        nv.nvmlInit()
    except NVMLError as error:
        return [], [explain(error)]
    try:
        gpus, missing = _asked(_handles(addresses))
    except NVMLError as error:
        missing = [explain(error)]
    finally:
        if not gpus:
            let_go()
    return gpus, missing


def let_go() -> None:
    """Give the driver back, if nobody else in this process uses it."""
    nv.nvmlShutdown()


def _handles(addresses: Sequence[str] | None) -> dict[str, Callable[[], Any]]:
    """How to open each GPU, by what to call it if that fails."""
    if addresses is None:
        return {f"GPU {index}": partial(by_index, index) for index in range(int(nv.nvmlDeviceGetCount()))}
    return {f"GPU at {address}": partial(by_bus, address) for address in addresses}


def _asked(handles: dict[str, Callable[[], Any]]) -> tuple[list[Gpu], list[Missing]]:
    gpus: list[Gpu] = []
    missing: list[Missing] = []
    for name, handle in handles.items():
        try:
            gpus.append(ask(handle()))
        except NVMLError as error:  # noqa: PERF203  # one failing GPU leaves the others
            missing.append(Missing("nvml", name, f"it doesn't answer: {error}", domains=("gpu",)))
    return sorted(gpus, key=lambda gpu: gpu.number), missing


class _Reading(NamedTuple):
    """A call, and which of its results go where in a sweep."""

    read: Callable[[], Sequence[int | None]]
    places: list[tuple[int, int]]


class NvmlReader:
    """Some sensors, read with as few calls as there are. Raises NVMLError if the driver can't be opened.

    Args:
        sensors: Ids are ``nvml:gpu<index>/…`` and identities are UUIDs; a MIG slice's parent is its GPU's.
    """

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self._sensors = len(sensors)
        nv.nvmlInit()
        self._open = True
        columns: dict[tuple[int, str], dict[str, list[int]]] = {}
        for column, sensor in enumerate(sensors):
            gpu = int(sensor.id.removeprefix("nvml:gpu").partition("/")[0]), sensor.parent or sensor.identity
            columns.setdefault(gpu, {}).setdefault(sensor.quantity, []).append(column)
        self._readings = [reading for gpu, wanted in columns.items() for reading in _readings(*gpu, wanted)]

    def read(self) -> list[int | None]:
        """Millijoules, milliwatts, percent, bytes, megahertz; None for what its GPU doesn't give now."""
        values: list[int | None] = [None] * self._sensors
        for read, places in self._readings:
            try:
                results = read()
            except NVMLError:  # one lost GPU leaves the others
                continue
            for result, column in places:
                values[column] = results[result]
        return values

    def close(self) -> None:
        """Give the driver back; a second call does nothing."""
        if self._open:
            self._open = False
            self._readings = []
            let_go()


def _readings(index: int, uuid: str, columns: dict[str, list[int]]) -> list[_Reading]:
    """The calls that one GPU needs; none if it is gone, or if its number is another's now."""
    try:
        handle = by_index(index)
        if str(nv.nvmlDeviceGetUUID(handle)) != uuid:
            return []
    except NVMLError:
        return []
    return [_Reading(call.read, places) for call in calls(handle) if (places := _places(call, columns))]


def _places(call: Call, columns: dict[str, list[int]]) -> list[tuple[int, int]]:
    return [(result, column) for result, quantity in enumerate(call.quantities) for column in columns.get(quantity, ())]
