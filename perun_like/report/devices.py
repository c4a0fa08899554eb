"""The table of devices: energy of each, those inside another beneath it, and what to know about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.report import format as form
from perun_like.report.figures import name_of, short_reason
from perun_like.report.hosts import kind_table
from perun_like.report.page import DIM, YELLOW, Cell, Page, columns
from perun_like.report.tables import MOST_ROWS, figure_cell, folded, header

_ORIGIN = 28  # columns of the longest reason told in the table
_NOTHING = Metric.absent("J", "not recorded")


class _Device(NamedTuple):
    sensor: DataNode
    name: str
    depth: int  # how many other devices of the table contain it: what is indented isn't added


def device_table(page: Page, run: DataNode) -> list[str]:
    """Energy of each device. What is inside another one, or repeats it, is indented beneath it and never added.

    Of several hosts, energy of each kind of device.
    """
    hosts = run.find(NodeType.NODE)
    if len(hosts) > 1:
        return kind_table(page, run)
    devices = [device for host in hosts for device in _devices(host)]
    if not devices:
        return []
    outer = [device for device in devices if not device.depth]
    shown = outer if len(devices) > MOST_ROWS else devices
    cells = [header("Device", ">energy", "", ">power", "from"), *map(_row, shown)]
    lines = folded(page, page.table(cells, flexible=len(cells[0]) - 1), "devices", hidden=len(devices) - len(shown))
    return lines + [line for device in devices for line in _notes(page, run, device)]


def _devices(host: DataNode) -> list[_Device]:
    """A host's devices in the order of the table, from the outside in."""
    sensors = [sensor for sensor in host.find(NodeType.SENSOR) if "energy_j" in sensor.metrics]
    ids = {sensor.id for sensor in sensors}
    owners = {sensor.id: _owner(sensor, ids) for sensor in sensors}
    first: dict[str, int] = {}  # package-0/dram, which is beside package-0, comes after it
    sensors.sort(key=lambda sensor: first.setdefault(name_of(sensor.id).partition("/")[0], len(first)))
    found = list(_beneath(None, sensors, owners))
    placed = {sensor.id for sensor, _ in found}
    found += [(sensor, 0) for sensor in sensors if sensor.id not in placed]
    return [_Device(sensor, _label(sensor, owners[sensor.id], depth), depth) for sensor, depth in found]


def _owner(sensor: DataNode, ids: set[str]) -> str | None:
    """The device that a sensor is inside or repeats: the last word of why a total doesn't add it."""
    last = str(sensor.metadata.get("not_added") or "").rpartition(" ")[2]
    return last if last in ids and last != sensor.id else None


def _beneath(
    owner: str | None, sensors: Sequence[DataNode], owners: dict[str, str | None], depth: int = 0
) -> Iterator[tuple[DataNode, int]]:
    for sensor in sensors:
        if owners[sensor.id] == owner:
            yield sensor, depth
            yield from _beneath(sensor.id, sensors, owners, depth + 1)


def _label(sensor: DataNode, owner: str | None, depth: int) -> str:
    if not depth:
        return name_of(sensor.id)
    return "  " * depth + name_of(sensor.id).removeprefix(f"{name_of(owner or '')}/")


def _row(device: _Device) -> list[Cell]:
    sensor = device.sensor
    energy = sensor.metrics["energy_j"]
    codes = (DIM,) if sensor.metadata.get("not_added") else ()
    return [
        Cell(device.name, codes),
        figure_cell(energy, *codes),
        Cell(form.show(energy).bounds, (DIM,)),
        Cell("") if energy.value is None else figure_cell(sensor.metrics.get("power_w"), *codes),
        Cell(_origin(sensor), (DIM,) if energy.provenance is Provenance.MEASURED else (YELLOW,)),
    ]


def _origin(sensor: DataNode) -> str:
    """Where a figure comes from, and how it relates to the total."""
    energy, accuracy = sensor.metrics["energy_j"], sensor.metadata.get("accuracy")
    word, backend = energy.provenance.value, sensor.id.partition(":")[0]
    if energy.value is None:
        return "missing"
    outside = _outside(sensor)
    if outside:
        text = f"{word}, {outside}"
        return text if columns(text) <= _ORIGIN else f"{word}, not added"
    origin = f"{word} by a model" if backend == "estimate" else f"{word}, {backend}"
    return f"{origin} ± {form.percent(100 * accuracy)}" if accuracy else origin


def _outside(sensor: DataNode) -> str:
    """Why a total doesn't add a sensor: ``in package-0`` for ``inside rapl:package-0``."""
    reason = str(sensor.metadata.get("not_added") or "")
    first, _, last = reason.rpartition(" ")
    return f"{first} {name_of(last)}".strip().replace("inside ", "in ", 1)


def _notes(page: Page, run: DataNode, device: _Device) -> list[str]:
    """What an estimate assumes, what is wrong with a device, and what has no room in the table."""
    sensor, energy, facts = device.sensor, device.sensor.metrics["energy_j"], device.sensor.metadata
    name = name_of(sensor.id)
    wrong = []
    if energy.value is None or energy.reason:
        wrong.append(short_reason(run, energy).removeprefix(f"{sensor.id}: "))
    if facts.get("failed_reads"):
        wrong.append(f"{facts['failed_reads']} of {facts.get('reads', '?')} reads failed")
    known = [energy.method or ""] if energy.value is not None else []
    if facts.get("not_added") and _origin(sensor).endswith("not added"):
        known.append(_outside(sensor))
    lines = [page.paragraph(f"{name}: {text}", DIM, indent="    ") for text in known if text]
    lines += [page.paragraph(f"{name}: {'; '.join(wrong)}", YELLOW, indent="    ")] if wrong else []
    return [line for paragraph in lines for line in paragraph]
