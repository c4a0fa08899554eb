"""The nvml backend on a real NVIDIA GPU. Truth is nvidia-smi, and the driver asked by the program that is watched."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pynvml
import pytest
from conftest import Run

import perun_like
from perun_like.model.node import DataNode, Metric, NodeType
from perun_like.sensing.contract import Context, Sensor
from perun_like_sensors.nvml import TICK_NS, NvmlBackend

GIB = 1 << 30
TICK_S = TICK_NS / 1e9

# Fills 1 GiB of the GPU's memory again and again, and tells what the counter showed when it began and ended.
LOAD = """
import ctypes, json, sys, time
import pynvml
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByUUID(sys.argv[1])
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *args):
    code = getattr(cuda, name)(*args)
    assert code == 0, (name, code)
device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
call("cuInit", 0)
call("cuDeviceGet", ctypes.byref(device), 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
call("cuCtxSetCurrent", context)
call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(1 << 30))
began, until = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu), time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    for number in range(20):
        call("cuMemsetD32_v2", memory, ctypes.c_uint(number), ctypes.c_size_t(1 << 28))
    call("cuCtxSynchronize")
print(json.dumps([began, pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)]))
"""


@pytest.fixture(autouse=True)
def driver() -> Iterator[None]:
    """NVML, open; the tests are skipped where there is no GPU."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        pytest.skip(f"no NVIDIA GPU here: {error}")
    yield
    pynvml.nvmlShutdown()


def smi(*query: str) -> list[list[str]]:
    """Rows of what nvidia-smi says of each GPU."""
    command = ["nvidia-smi", f"--query-gpu={','.join(query)}", "--format=csv,noheader,nounits"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [[word.strip() for word in line.split(",")] for line in shown.splitlines()]


def found() -> dict[str, Sensor]:
    return {sensor.id: sensor for sensor in NvmlBackend().find(Context()).sensors}


@pytest.fixture
def counted() -> Sensor:
    """The energy counter of the first GPU that has one."""
    counters = [sensor for sensor in found().values() if sensor.quantity == "energy"]
    if not counters:
        pytest.skip("no GPU here has an energy counter")
    return counters[0]


def test_every_gpu_of_nvidia_smi_is_found():
    listed = {f"nvml:gpu{index}": uuid for index, uuid in smi("index", "uuid")}
    assert {sensor.id.partition("/")[0]: sensor.identity for sensor in found().values()} == listed


def test_the_counter_is_updated_as_often_as_is_assumed(counted: Sensor, record_property: Callable[[str, object], None]):
    reader = NvmlBackend().open([counted], Context())
    updates, last = [], None
    until = time.monotonic() + 4
    try:
        while (now := time.monotonic()) < until:
            (value,) = reader.read()
            assert value is not None
            assert last is None or value >= last
            if value != last:
                updates.append(now)
            last = value
    finally:
        reader.close()
    steps_s = [b - a for a, b in pairwise(updates[1:])]
    record_property("median_update_s", statistics.median(steps_s))
    record_property("longest_update_s", max(steps_s))
    assert max(steps_s) <= 1.2 * TICK_S


def test_memory_and_power_are_those_of_nvidia_smi():
    sensors = [sensor for sensor in found().values() if sensor.quantity in ("power", "gpu_memory_used")]
    reader = NvmlBackend().open(sensors, Context())
    try:
        values = dict(zip(sensors, reader.read(), strict=True))
    finally:
        reader.close()
    told = {uuid: (power, memory) for uuid, power, memory in smi("uuid", "power.draw", "memory.used")}
    for sensor, value in values.items():
        assert value is not None
        power, memory = told[sensor.identity]
        if sensor.quantity == "power" and power[0].isdigit():
            assert value * sensor.scale == pytest.approx(float(power), rel=0.5, abs=10)
        if sensor.quantity == "gpu_memory_used" and memory[0].isdigit():
            assert value == pytest.approx(float(memory) * 2**20, abs=GIB)


def metric(tree: DataNode, name: str) -> Metric:
    return tree.find(NodeType.RUN)[0].metrics[name]


def test_a_load_is_measured_as_it_measures_itself(
    perun: Run, script: Callable[[str], str], tmp_path: Path, clean_environ: dict[str, str], counted: Sensor
):
    name = script(LOAD)
    seen = {**clean_environ, "CUDA_VISIBLE_DEVICES": counted.identity}
    gpu = pynvml.nvmlDeviceGetHandleByUUID(counted.identity)
    before_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    ended = perun("profile", "--period", "20ms", name, counted.identity, "4", env=seen)
    time.sleep(2 * TICK_S)  # until the counter has what was used until the program's end
    after_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    assert ended.returncode == 0, ended.stderr
    began_mj, stopped_mj = json.loads(ended.stdout)
    (path,) = tmp_path.glob("perun_results/script/*.h5")
    tree = perun_like.load(str(path))
    energy = metric(tree, "gpu_energy_j")
    assert not energy.missing
    assert energy.lower is not None
    assert energy.upper is not None
    assert energy.value is not None
    # The program measured a part of the run, and the test more than the run.
    assert energy.upper >= (stopped_mj - began_mj) / 1e3
    assert energy.lower <= (after_mj - before_mj) / 1e3
    assert energy.upper - energy.lower < 0.3 * energy.value
    assert metric(tree, "gpu_memory_peak_b").value >= GIB
    assert metric(tree, "gpu_util_percent").value > 20
    busy_w = energy.value / metric(tree, "runtime_s").value
    assert busy_w < 1.2 * pynvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu)[1] / 1e3


def test_a_program_without_gpus_has_none(perun: Run, tmp_path: Path, clean_environ: dict[str, str], counted: Sensor):
    ended = perun("profile", "sleep", "0.5", env={**clean_environ, "CUDA_VISIBLE_DEVICES": ""})
    assert ended.returncode == 0, ended.stderr
    (path,) = tmp_path.glob("perun_results/sleep/*.h5")
    tree = perun_like.load(str(path))
    assert metric(tree, "gpu_energy_j").value is None
    assert "CUDA_VISIBLE_DEVICES" in str(metric(tree, "gpu_energy_j").reason)
    (outside,) = [node for node in tree.find(NodeType.SENSOR) if node.id == counted.id]
    assert outside.metrics["energy_j"].value > 0
