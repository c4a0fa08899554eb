"""The model of energy: its numbers against those of its source, its ranges against themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perun_like.sensing.contract import ESTIMATED, Context
from perun_like.sensing.linux import LinuxSystem
from perun_like_sensors.estimate import EstimateBackend

Plant = Callable[[str], Path]

# Cloud Carbon Footprint 0.15.0, packages/aws: watts per logical CPU, by microarchitecture of the host.
IDLE_W = [0.64, 0.65, 0.71, 1, 1.14, 2.17, 3.04, 0.82, 0.47]
FULL_W = [3.97, 4.26, 3.69, 4.74, 5.42, 8.58, 8.25, 2.55, 1.69]
AVERAGE_W = (0.74, 3.5)


def context(root: Path, **options: Any) -> Context:
    return Context(proc_root=str(root / "proc"), sys_root=str(root / "sys"), **options)


def models(here: Context) -> tuple[Any, Any]:
    cpu, dram = EstimateBackend().find(here).sensors
    assert (cpu.id, dram.id) == ("estimate:cpu", "estimate:dram")
    assert cpu.provenance == dram.provenance == ESTIMATED
    assert (cpu.domain, dram.domain) == ("package", "dram")
    return cpu.model, dram.model


def full_w(model: Any) -> list[float]:
    return [idle + model["logical_cpus"] * active for idle, active in
            zip(model["idle_w"], model["active_w_per_cpu"], strict=True)]  # fmt: skip


def test_the_values_are_the_averages_and_the_ranges_span_the_table(plant: Plant):
    cpu, dram = models(context(plant("busy_server")))
    assert cpu["logical_cpus"] == 2
    assert cpu["idle_w"][1] == pytest.approx(2 * AVERAGE_W[0])
    assert full_w(cpu)[1] == pytest.approx(2 * AVERAGE_W[1])
    for idle, full in zip(IDLE_W, FULL_W, strict=True):
        assert cpu["idle_w"][0] <= 2 * idle <= cpu["idle_w"][2]
        assert full_w(cpu)[0] <= 2 * full <= full_w(cpu)[2]
        assert cpu["active_w_per_cpu"][0] <= full - idle <= cpu["active_w_per_cpu"][2]
    assert dram["idle_w"][1] == pytest.approx(16_384_000 * 1024 / 1e9 * 0.392)
    assert dram["idle_w"] == sorted(dram["idle_w"])
    assert dram["active_w_per_cpu"] == [0, 0, 0]


def test_a_known_tdp_is_what_full_load_takes(plant: Plant):
    cpu, _ = models(context(plant("busy_server"), cpu_tdp_w=65.0))
    assert full_w(cpu) == pytest.approx([0.5 * 65, 65, 1.3 * 65])
    assert cpu["idle_w"] == pytest.approx([3.25, 9.75, 32.5])
    assert cpu["source"] == "--cpu-tdp"
    assert "65 W" in cpu["text"]


def test_a_guest_says_that_it_estimates_itself_only(plant: Plant):
    root = plant("busy_server")
    assert "virtual machine" not in models(context(root))[0]["text"]
    (root / "proc/cpuinfo").write_text("flags\t\t: fpu hypervisor\n")
    cpu, dram = models(context(root))
    assert cpu["text"].endswith("only the logical CPUs of this virtual machine")
    assert dram["text"].endswith("only the memory of this virtual machine")


def test_the_counter_is_busy_time_and_that_of_memory_stands_still(plant: Plant):
    backend, here = EstimateBackend(), context(plant("busy_server"))
    cpu, dram = backend.find(here).sensors
    reader = backend.open([dram, cpu], here)
    assert reader.read() == [0, 1331]
    assert cpu.scale == 1 / LinuxSystem().ticks_per_s
    reader.close()
    reader.close()


def test_what_the_system_does_not_tell_is_missing(plant: Plant):
    root = plant("azure_guest")
    (root / "proc/stat").write_text("nothing of this kind\n")
    found = EstimateBackend().find(context(root))
    assert list(found.sensors) == []
    assert [missing.what for missing in found.missing] == ["estimate:cpu", "estimate:dram"]
