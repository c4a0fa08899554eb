"""The report's table of devices: what is inside another one stands beneath it. Truth: written by hand."""

from __future__ import annotations

import re

import report_trees as trees

from perun_like.model.node import DataNode, NodeType
from perun_like.report.text import render


def table_of(*sensors: DataNode) -> list[str]:
    """The lines of the table of devices."""
    lines = render(trees.tree("x", trees.run_node(trees.common(), *sensors))).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("  Device"))
    return lines[first + 1 : lines.index("", first)]


def device(id_: str, not_added: str | None = None) -> DataNode:
    return trees.energy_sensor(id_, trees.joules(9.0, 8.0, 10.0), 4.5, not_added=not_added)


def names_in(lines: list[str]) -> list[str]:
    return [re.split(r"(?<=\S)  ", line)[0].removeprefix("  ") for line in lines]


def test_what_is_inside_a_device_is_indented_beneath_it_and_memory_is_beside() -> None:
    packages = [device("rapl:package-0"), device("rapl:package-1")]
    memory = [device("rapl:package-1/dram"), device("rapl:package-0/dram")]
    parts = [device(f"rapl:package-{n}/core", f"inside rapl:package-{n}") for n in (0, 1)]
    lines = table_of(*packages, *memory, *parts)
    expected = ["package-0", "  core", "package-0/dram", "package-1", "  core", "package-1/dram"]
    assert names_in(lines) == expected
    assert [line.rpartition("  ")[2] for line in lines[:2]] == ["measured, rapl", "measured, in package-0"]


def test_a_second_door_to_a_device_is_told_as_such() -> None:
    lines = table_of(device("rapl:mmio:package-0", "repeats rapl:package-0"), device("rapl:package-0"))
    assert names_in(lines) == ["package-0", "  mmio:package-0"]
    assert lines[1].endswith("  measured, repeats package-0")


def test_a_reason_with_no_room_in_the_table_is_told_below() -> None:
    lines = table_of(device("rapl:psys", "platform counter, never added"))
    assert lines[0].endswith("  measured, not added")
    assert lines[1] == "  psys: platform counter, never added"


def test_devices_inside_each_other_are_still_shown() -> None:
    lines = table_of(device("rapl:a", "inside rapl:b"), device("rapl:b", "inside rapl:a"))
    assert names_in(lines) == ["a", "b"]


def test_of_many_devices_those_are_shown_that_a_total_adds() -> None:
    packages = [device(f"rapl:package-{n}") for n in range(12)]
    parts = [device(f"rapl:package-{n}/core", f"inside rapl:package-{n}") for n in range(12)]
    lines = table_of(*packages, *parts)
    assert names_in(lines) == [*(f"package-{n}" for n in range(12)), "… 12 more devices in the file"]


def test_the_accuracy_of_a_device_is_told() -> None:
    sensor = trees.energy_sensor("nvml:gpu-0", trees.joules(9.0, 8.0, 10.0), 4.5, accuracy=0.05)
    assert table_of(sensor)[0].endswith("  measured, nvml ± 5.0 %")


def test_failed_reads_are_told() -> None:
    assert "\n  package-0/dram: 3 of 47 reads failed\n" in render(trees.measured())


def test_devices_of_several_hosts_are_told_by_kind() -> None:
    estimated = trees.joules(7.0, 1.0, 9.0, trees.ESTIMATED, method="by a model")
    metrics = trees.common() | {"cpu_energy_j": trees.joules(18.0, 16.0, 20.0), "dram_energy_j": estimated}
    run = trees.run_node(metrics, trees.energy_sensor("rapl:package-0", trees.joules(9.0, 8.0, 10.0), 4.5))
    run.nodes.append(DataNode("node02", NodeType.NODE, nodes=run.nodes[0].nodes))
    run.nodes[0].metrics = {name: metrics[name] for name in ("cpu_energy_j", "dram_energy_j")}
    run.nodes[1].metrics = {"cpu_energy_j": metrics["cpu_energy_j"]}
    lines = render(trees.tree("x", run)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  Devices"))
    assert [" ".join(line.split()) for line in lines[at + 1 : at + 4]] == [
        "cpu 18.0 J ± 2.0 J 3.99 W measured, 2 hosts",
        "dram 7.0 J 1.0 to 9.0 J 1.55 W estimated, 1 of 2 hosts",
        "dram: by a model",
    ]
    assert "package-0" not in "".join(lines)
