"""What every backend that is installed keeps to, ours and strangers' alike, on this machine and on captured ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perun_like.sensing.contract import ADDED_DOMAINS, COUNTER, ESTIMATED, GAUGE, MEASURED, Backend, Context, Sensor
from perun_like.sensing.discovery import ALTERNATIVES, backend_specs, find_all, load
from perun_like.sensing.overlap import is_energy, split

Plant = Callable[[str], Path]

SPECS = {**backend_specs(sys.path), **backend_specs(sys.path, ALTERNATIVES)}
OURS = {name: spec for name, spec in SPECS.items() if spec.startswith("perun_like_sensors.")}
MACHINES = sorted(path.stem for path in (Path(__file__).parents[1] / "fixtures" / "trees").glob("*.tree"))
UNITS = {"J", "W", "B", "s", "Hz", "%", "1"}
GROUPS = {"cpu", "dram", "gpu", "platform", "memory", "disk", "network", "application"}
HEAVY = {"numpy", "h5py", "click", "rich", "psutil", "dataclasses", "logging", "pathlib", "subprocess", "ctypes",
         "importlib.metadata", "multiprocessing", "socket", "asyncio", "inspect", "unittest"}  # fmt: skip


@pytest.fixture(params=["this machine", *MACHINES])
def context(request: pytest.FixtureRequest, plant: Plant) -> Context:
    """A machine to look at; the application is this process."""
    here = Context(run_token="contract")
    if request.param != "this machine":
        root = plant(request.param)
        here = Context(
            powercap_root=str(root / "sys/class/powercap"),
            proc_root=str(root / "proc"),
            sys_root=str(root / "sys"),
            run_token="contract",
        )
    here.watch(os.getpid())
    return here


@pytest.fixture(params=sorted(SPECS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return load(SPECS[request.param])


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    before, threads = descriptors(), threading.active_count()
    yield
    assert descriptors() == before
    assert threading.active_count() == threads


def test_there_are_the_backends_this_project_promises():
    assert {"estimate", "host", "memory", "nvml", "processes", "pyrapl", "rapl"} <= OURS.keys()


def test_what_is_found_is_described_completely(backend: Backend, context: Context):
    before = descriptors()
    sensors, missing = backend.find(context)
    backend.open([], context).close()
    assert descriptors() == before  # nothing that finding leaves open stays so
    assert sensors or missing  # nothing to read always has a reason
    assert len({sensor.id for sensor in sensors}) == len(sensors)
    for sensor in sensors:
        check(sensor, backend)
    for entry in missing:
        assert entry.backend == backend.name
        assert entry.what
        assert entry.reason
        assert set(entry.domains) <= {*ADDED_DOMAINS, ""}
        assert not any(entry.domains) or set(entry.domains) - {""} <= set(backend.domains)  # type: ignore[attr-defined]
        assert entry.what.count(", ") + 1 == len(entry.domains) or "" not in entry.domains


def check(sensor: Sensor, backend: Backend) -> None:
    assert sensor.id.startswith(f"{backend.name}:")
    assert sensor.backend == backend.name
    assert sensor.kind in {COUNTER, GAUGE}
    assert sensor.provenance in {MEASURED, ESTIMATED}
    assert sensor.unit in UNITS
    assert sensor.group in GROUPS
    assert sensor.quantity
    assert sensor.identity
    assert sensor.source
    assert sensor.scale > 0
    assert sensor.resolution >= 1
    assert sensor.modulus is None or sensor.modulus > sensor.resolution
    assert min(sensor.tick_ns, sensor.lag_ns, sensor.window_ns) >= 0
    assert not sensor.window_ns or sensor.kind == GAUGE
    assert not sensor.outside or is_energy(sensor)
    assert bool(sensor.model) == (sensor.provenance == ESTIMATED)
    assert json.loads(json.dumps(sensor._asdict())) == sensor._asdict() | {"model": dict(sensor.model)}
    assert sensor.quantity != "energy" or sensor.domain


def test_a_sweep_has_one_value_a_sensor_and_counters_only_rise(backend: Backend, context: Context):
    sensors = backend.find(context).sensors
    reader = backend.open(sensors, context)
    sweeps = [list(reader.read()) for _ in range(5)]
    reader.close()
    reader.close()
    for sweep in sweeps:
        assert len(sweep) == len(sensors)
        assert all(value is None or (type(value) is int and 0 <= value < 1 << 63) for value in sweep)
    for number, sensor in enumerate(sensors):
        values = [sweep[number] for sweep in sweeps]
        rising = [value for value in values if value is not None]
        assert sensor.kind == GAUGE or sensor.modulus is not None or rising == sorted(rising)


def test_some_sensors_can_be_opened_in_any_order(backend: Backend, context: Context):
    sensors = list(reversed(backend.find(context).sensors))[:2]
    reader = backend.open(sensors, context)
    assert len(reader.read()) == len(sensors)
    reader.close()


def test_all_together_have_ids_of_their_own_and_a_total_without_overlap(context: Context):
    discovery = find_all(OURS, context)
    assert discovery.backends.keys() == OURS.keys()  # none fails, whatever the machine
    sensors = [sensor for found in discovery.sensors.values() for sensor in found]
    assert len({sensor.id for sensor in sensors}) == len(sensors)
    division = split(sensors)
    energy = [sensor for sensor in sensors if is_energy(sensor)]
    assert sorted([*division.added, *division.not_added]) == sorted(sensor.id for sensor in energy)
    added = [sensor for sensor in energy if sensor.id in division.added]
    assert len({sensor.identity for sensor in added}) == len(added)
    assert not {sensor.identity for sensor in added} & {sensor.parent for sensor in added}
    assert all(sensor.domain != "psys" for sensor in added)


IMPORT = """
import sys
sys.path[:0] = {paths!r}
from perun_like.sensing import contract, discovery, overlap
specs = {{**discovery.backend_specs(sys.path), **discovery.backend_specs(sys.path, discovery.ALTERNATIVES)}}
context = contract.Context()
found = discovery.find_all({{name: specs[name] for name in {names!r}}}, context)
for name, backend in found.backends.items():
    reader = backend.open(found.sensors[name], context)
    reader.read()
print(*sorted(sys.modules), sep=chr(10))
"""


def test_finding_and_reading_import_nothing_heavy():
    # NVML is read through ctypes, where there is an NVIDIA driver.
    names = OURS.keys() - ({"nvml"} if os.path.exists("/proc/driver/nvidia") else set())
    code = IMPORT.format(paths=[path for path in sys.path if path], names=sorted(names))
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "perun_like_sensors.rapl" in loaded
    assert HEAVY.isdisjoint(loaded)
