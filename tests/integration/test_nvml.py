"""Whole runs on machines with GPUs: a library plays the driver, and its energy over any time is a formula."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Run
from nvml_stub import StubGpu, configure

import perun_like
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.model.recording import Recording
from perun_like.store.reader import read_recording

Profiled = tuple[DataNode, Recording, str]
Profile = Callable[..., Profiled]

# Power that changes much faster than it is read; what is left to err is when the updates around both ends were.
COUNTER = StubGpu("GPU-aaaa1111", low_w=90, high_w=390, period_s=0.007, tick_s=0.02)
SLOW = StubGpu("GPU-bbbb2222", low_w=60, high_w=400, period_s=2, tick_s=0.083)
POWER_ONLY = StubGpu("GPU-cccc3333", model="Stub P100", capability=60, lacks="energy,fields", low_w=30, high_w=250,
                     period_s=1.7, tick_s=0.02)  # fmt: skip
DIVIDED = StubGpu("GPU-dddd4444", model="Stub A100", capability=80, units="31", low_w=80, high_w=380, period_s=0.9,
                  tick_s=0.05)  # fmt: skip


@pytest.fixture
def profile_with(perun: Run, tmp_path: Path, clean_environ: dict[str, str], nvml_library: dict[str, str]) -> Profile:
    """Profile a sleep on a machine with GPUs; returns the tree, the recording and the report."""

    def run(gpus: Sequence[StubGpu], seconds: float = 3, *options: str, **environ: str) -> Profiled:
        given = clean_environ | nvml_library | configure(tmp_path / "gpus", gpus) | environ
        given = {key: value for key, value in given.items() if key != "CUDA_VISIBLE_DEVICES" or key in environ}
        ended = perun("profile", *options, "sleep", str(seconds), env=given)
        assert ended.returncode == 0, ended.stderr
        (path,) = tmp_path.glob("perun_results/sleep/*.h5")
        return perun_like.load(str(path)), read_recording(str(path)), ended.stderr

    return run


def metric(tree: DataNode, name: str) -> Metric:
    return tree.find(NodeType.RUN)[0].metrics[name]


def sensor(tree: DataNode, id_: str) -> DataNode:
    (node,) = [node for node in tree.find(NodeType.SENSOR) if node.id == id_]
    return node


def within(energy: Metric, true_j: float) -> bool:
    assert energy.lower is not None
    assert energy.upper is not None
    return energy.lower <= true_j <= energy.upper


@pytest.mark.parametrize("wave", ["square", "ramp"])
def test_three_seconds_by_the_counter(profile_with: Profile, wave: str) -> None:
    gpu = replace(COUNTER, wave=wave)
    tree, recording, report = profile_with([gpu])
    true_j = gpu.truth_j(*recording.window_ns)
    energy = metric(tree, "gpu_energy_j")
    assert within(energy, true_j)
    assert energy.value == pytest.approx(true_j, rel=0.005)
    assert energy.provenance is Provenance.MEASURED
    assert energy.method is None
    assert metric(tree, "gpu_util_percent").value == pytest.approx(73)
    assert metric(tree, "gpu_memory_peak_b").value == 3 << 30
    assert "gpu0/energy" in report
    assert "! " not in report.partition("gpu0/energy")[2].replace("! energy", "")  # no warning of any GPU


def test_load_that_changes_with_the_reads_stays_within_the_bounds(profile_with: Profile) -> None:
    tree, recording, _ = profile_with([SLOW], 1.5, "--period", "20ms")
    energy, true_j = metric(tree, "gpu_energy_j"), SLOW.truth_j(*recording.window_ns)
    assert within(energy, true_j)
    # The power may change anywhere between two updates: at worst a quarter of the time between them, at each end, and
    # the updates are known to half the time between two reads.
    assert energy.value == pytest.approx(true_j, abs=2 * (0.083 / 4 + 0.02 / 2) * (SLOW.high_w - SLOW.low_w))


@pytest.mark.parametrize("wave", ["square", "ramp"])
def test_three_seconds_by_power_alone(profile_with: Profile, wave: str) -> None:
    gpu = replace(POWER_ONLY, wave=wave)
    tree, recording, report = profile_with([gpu])
    energy, true_j = metric(tree, "gpu_energy_j"), gpu.truth_j(*recording.window_ns)
    assert within(energy, true_j)
    # Between two reads it isn't known when the power changed, and it did so at most five times.
    assert energy.value == pytest.approx(true_j, abs=5 * 0.1 * (gpu.high_w - gpu.low_w))
    assert "not hard" in str(energy.method)
    assert "integral of power" in report
    assert sensor(tree, "nvml:gpu0/power").metadata["added"]


def test_means_over_a_second_are_labelled_and_bounded(profile_with: Profile) -> None:
    gpu = replace(POWER_ONLY, capability=89)
    tree, recording, _ = profile_with([gpu], 2)
    energy = sensor(tree, "nvml:gpu0/power")
    assert within(energy.metrics["energy_j"], gpu.truth_j(*recording.window_ns))
    assert "mean over 1 s" in str(energy.metrics["energy_j"].method)
    assert energy.metadata["mean_over_ns"] == 1_000_000_000


def test_what_the_application_cannot_see_is_shown_and_not_added(profile_with: Profile) -> None:
    tree, recording, report = profile_with([COUNTER, SLOW], 1, CUDA_VISIBLE_DEVICES="GPU-bbbb")
    assert within(metric(tree, "gpu_energy_j"), SLOW.truth_j(*recording.window_ns))
    outside = sensor(tree, "nvml:gpu0/energy")
    assert "not visible" in outside.metadata["not_added"]
    assert within(outside.metrics["energy_j"], COUNTER.truth_j(*recording.window_ns))
    rows = [line for line in report.splitlines() if line.strip().startswith("gpu0/energy")]
    assert any("not added" in row for row in rows)
    assert any("not visible to the application" in row for row in rows)
    assert metric(tree, "gpu_memory_peak_b").value == SLOW.memory_b


def test_slices_of_a_gpu_have_an_estimated_share_that_is_never_added(profile_with: Profile) -> None:
    tree, recording, report = profile_with([DIVIDED], 1.5)
    whole, true_j = sensor(tree, "nvml:gpu0/energy"), DIVIDED.truth_j(*recording.window_ns)
    energy = whole.metrics["energy_j"]
    assert within(energy, true_j)
    assert metric(tree, "gpu_energy_j").value == energy.value
    groups = [metric(tree, f"{group}_energy_j").value for group in ("cpu", "dram", "gpu")]
    assert metric(tree, "energy_j").value == pytest.approx(sum(joules for joules in groups if joules))
    for number, units in enumerate((3, 1)):
        node = sensor(tree, f"nvml:gpu0/energy/mig{number}")
        share = node.metrics["energy_j"]
        assert share.value == pytest.approx(units / 7 * energy.value)
        assert (share.lower, share.upper) == (0, pytest.approx(energy.upper))
        assert share.provenance is Provenance.ESTIMATED
        assert f"{units} of 7 compute slices" in str(share.method)
        assert node.metadata["not_added"] == "inside nvml:gpu0/energy"
    assert self_check(tree) == []
    rows = [line.split()[0] for line in report.splitlines() if "in gpu0/energy" in line]
    assert rows == ["mig0", "mig1"]
    assert metric(tree, "gpu_energy_j").missing == ()


def test_a_program_that_sees_one_slice_is_told_that_the_total_has_the_whole_gpu(profile_with: Profile) -> None:
    tree, recording, report = profile_with([DIVIDED], 1, CUDA_VISIBLE_DEVICES="MIG-1-dddd4444")
    assert within(metric(tree, "gpu_energy_j"), DIVIDED.truth_j(*recording.window_ns))
    shares = [node.id for node in tree.find(NodeType.SENSOR) if "/mig" in node.id]
    assert shares == ["nvml:gpu0/energy/mig1"]
    assert "MIG slices of GPU 0: NVML knows the energy of whole GPUs only" in " ".join(report.split())


def test_a_gpu_lost_half_way_makes_the_total_at_least(profile_with: Profile) -> None:
    tree, recording, _ = profile_with([replace(SLOW, lost_at_s=time.monotonic() + 1.5), COUNTER], 3)
    whole, lost = metric(tree, "gpu_energy_j"), sensor(tree, "nvml:gpu0/energy")
    assert lost.metadata["failed_reads"] > 3
    assert whole.missing == ("nvml:gpu0/energy",)
    assert whole.upper is None
    assert whole.lower <= sum(gpu.truth_j(*recording.window_ns) for gpu in (SLOW, COUNTER))
    assert 0 < lost.metrics["energy_j"].value < SLOW.truth_j(*recording.window_ns)
    healthy = sensor(tree, "nvml:gpu1/energy").metrics["energy_j"]
    assert within(healthy, COUNTER.truth_j(*recording.window_ns))


def test_the_command_that_lists_sensors_shows_gpus(
    perun: Run, tmp_path: Path, clean_environ: dict[str, str], nvml_library: dict[str, str]
) -> None:
    environ = clean_environ | nvml_library | configure(tmp_path / "gpus", [COUNTER, POWER_ONLY])
    shown = perun("sensors", "--backend", "nvml", env=environ | {"CUDA_VISIBLE_DEVICES": "GPU-cccc"}).stdout
    rows = {line.split()[0]: line for line in shown.splitlines() if line.startswith("nvml:")}
    assert "no: not visible" in rows["nvml:gpu0/energy"]
    assert rows["nvml:gpu1/power"].split()[1:] == ["measured", "yes"]
    assert rows["nvml:gpu1/clock"].split()[1] == "Hz"
