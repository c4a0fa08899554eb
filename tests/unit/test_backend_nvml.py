"""The nvml backend in a process of its own, with a library that plays the driver: its figures are the test's."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nvml_stub import StubGpu, configure

MS = 1_000_000
ONE = StubGpu("GPU-aaaa1111")
TWO = StubGpu("GPU-bbbb2222", model="Stub P100", capability=60, lacks="energy,fields", low_w=30, high_w=250, period_s=3)
DIVIDED = StubGpu("GPU-dddd", capability=80, units="32", lacks="load")

# Asks the backend, then reads so many times so far apart; tells its modules after the asking.
PROBE = """
import json, sys, time
from perun_like.sensing.contract import Context, Sensor
from perun_like_sensors.nvml import NvmlBackend
order = json.loads(sys.argv[1])
context = Context(environ=order["environ"], **order["roots"])
backend = NvmlBackend()
found = backend.find(context)
modules, sweeps = sorted(sys.modules), []
if order["reads"]:
    reader = backend.open(list(reversed(found.sensors)), context)
    for _ in range(order["reads"]):
        time.sleep(order["apart_s"])
        t0 = time.monotonic_ns()
        values = list(reversed(reader.read()))
        sweeps.append([t0, time.monotonic_ns(), values])
    reader.close()
    reader.close()
print(json.dumps({"sensors": [s._asdict() for s in found.sensors], "missing": [m._asdict() for m in found.missing],
                  "modules": modules, "sweeps": sweeps}))
"""

Probe = Callable[..., dict[str, Any]]


@pytest.fixture
def probe(tmp_path: Path, nvml_library: dict[str, str]) -> Probe:
    """What the backend finds and reads of some GPUs."""

    def ask(
        gpus: Sequence[StubGpu],
        environ: dict[str, str] | None = None,
        *,
        init: int = 0,
        reads: int = 0,
        apart_s: float = 0.0,
        roots: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        environ = nvml_library | (environ or {})
        order = {"environ": environ, "reads": reads, "apart_s": apart_s, "roots": roots or {}}
        environ = os.environ | environ | configure(tmp_path / "gpus", gpus, init)
        command = [sys.executable, "-c", PROBE, json.dumps(order)]
        ended = subprocess.run(command, env=environ, check=True, capture_output=True, text=True, timeout=30)
        return dict(json.loads(ended.stdout))

    return ask


def by_id(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {sensor["id"]: sensor for sensor in answer["sensors"]}


def test_a_card_with_a_counter_has_its_power_beside_it(probe: Probe):
    sensors = by_id(probe([ONE]))
    names = ["energy", "power", "util", "memory_used", "clock"]
    assert list(sensors) == [f"nvml:gpu0/{name}" for name in names]
    energy, power = sensors["nvml:gpu0/energy"], sensors["nvml:gpu0/power"]
    assert (energy["kind"], energy["quantity"], energy["domain"]) == ("counter", "energy", "gpu")
    assert (power["kind"], power["quantity"], power["domain"]) == ("gauge", "power", None)
    assert {sensor["identity"] for sensor in sensors.values()} == {ONE.uuid}
    assert energy["ceiling"] == 10 * ONE.limit_w
    assert energy["source"] == power["source"] == "Stub V100: nvmlDeviceGetFieldValues"


def test_values_are_those_of_the_card_at_the_time(probe: Probe):
    gpu = replace(ONE, period_s=0.3, tick_s=0.02)
    answer = probe([gpu], reads=20, apart_s=0.02)
    first = answer["sweeps"][0]
    moved = 0
    for t0_ns, t1_ns, values in answer["sweeps"]:
        energy_mj, power_mw, load, memory_b, clock_mhz = values
        assert power_mw in (60_000, 400_000)
        assert (load, memory_b, clock_mhz) == (73, 3 << 30, 1410)
        counted_j = (energy_mj - first[2][0]) / 1e3
        least_j = gpu.truth_j(first[1], max(t0_ns - 20 * MS, first[1]))
        most_j = gpu.truth_j(first[0] - 20 * MS, t1_ns)
        assert least_j - 0.002 <= counted_j <= most_j + 0.002
        moved += energy_mj != first[2][0]
    assert moved > 10


def test_a_card_without_a_counter_stands_with_its_power(probe: Probe):
    answer = probe([ONE, TWO], reads=1)
    power = by_id(answer)["nvml:gpu1/power"]
    assert "nvml:gpu1/energy" not in by_id(answer)
    assert (power["quantity"], power["domain"], power["identity"]) == ("power", "gpu", TWO.uuid)
    assert power["source"] == "Stub P100: nvmlDeviceGetPowerUsage"
    assert power["window_ns"] == 0
    assert None not in answer["sweeps"][0][2]


def test_a_counter_that_never_counted_is_none(probe: Probe):
    still = replace(ONE, start_j=0, low_w=0, high_w=0)
    assert "nvml:gpu0/energy" not in by_id(probe([still]))


@pytest.mark.parametrize(
    ("capability", "window_ns"), [(60, 0), (70, 0), (75, 0), (80, 0), (86, 1_000 * MS), (90, 1_000 * MS)]
)
def test_averaged_power_tells_its_window(probe: Probe, capability: int, window_ns: int):
    gpu = replace(ONE, capability=capability, lacks="energy,instant")
    assert by_id(probe([gpu]))["nvml:gpu0/power"]["window_ns"] == window_ns
    instant = replace(gpu, lacks="energy")
    assert by_id(probe([instant]))["nvml:gpu0/power"]["window_ns"] == 0


def test_accuracy_is_told_where_it_is_documented(probe: Probe):
    kepler, later = replace(ONE, capability=37, lacks="energy,instant"), replace(TWO, capability=52)
    sensors = by_id(probe([kepler, later]))
    assert sensors["nvml:gpu0/power"]["accuracy"] == 0.05
    assert sensors["nvml:gpu1/power"]["accuracy"] is None
    assert by_id(probe([ONE]))["nvml:gpu0/energy"]["accuracy"] is None


def test_an_old_library_is_asked_one_by_one(probe: Probe):
    answer = probe([replace(ONE, lacks="fields,second")], reads=1)
    assert by_id(answer)["nvml:gpu0/energy"]["source"].endswith("nvmlDeviceGetTotalEnergyConsumption")
    assert by_id(answer)["nvml:gpu0/power"]["domain"] is None
    assert answer["sweeps"][0][2][3] == (3 << 30) + (256 << 20)  # the first version has the driver's part in it


def test_a_card_without_either_is_missing(probe: Probe):
    answer = probe([replace(ONE, lacks="energy,power")])
    assert [sensor["quantity"] for sensor in answer["sensors"]] == ["gpu_util", "gpu_memory_used", "gpu_clock"]
    (missing,) = answer["missing"]
    assert missing["what"] == "nvml:gpu0"
    assert "neither" in missing["reason"]
    assert not missing["quiet"]


def test_cards_that_the_application_cannot_see_are_outside(probe: Probe):
    sensors = by_id(probe([ONE, TWO], {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}))
    of_first = [sensor for id_, sensor in sensors.items() if id_.startswith("nvml:gpu0")]
    assert [sensor["quantity"] for sensor in of_first] == ["energy"]
    assert "not visible" in of_first[0]["outside"]
    assert not any(sensor["outside"] for id_, sensor in sensors.items() if id_.startswith("nvml:gpu1"))


def test_an_application_without_gpus_is_told_quietly(probe: Probe):
    answer = probe([ONE, TWO], {"CUDA_VISIBLE_DEVICES": ""})
    assert all(sensor["outside"] for sensor in answer["sensors"])
    assert [(entry["reason"], entry["quiet"]) for entry in answer["missing"]] == [
        ("the application sees none of them (CUDA_VISIBLE_DEVICES)", True)
    ]


def test_a_doubtful_order_is_told(probe: Probe):
    answer = probe([replace(TWO, cores=100), ONE], {"CUDA_VISIBLE_DEVICES": "0"})
    assert next(sensor["id"] for sensor in answer["sensors"] if not sensor["outside"]) == "nvml:gpu1/energy"
    assert "PCI_BUS_ID" in answer["missing"][0]["remedy"]


def test_a_divided_card_counts_whole(probe: Probe):
    for listed in ("MIG-0-dddd", "MIG-1", "MIG-GPU-dddd/1/0", "GPU-d", "1"):
        answer = probe([ONE, DIVIDED], {"CUDA_VISIBLE_DEVICES": listed})
        assert by_id(answer)["nvml:gpu1/energy"]["outside"] == "", listed
        assert by_id(answer)["nvml:gpu0/energy"]["outside"], listed
        told = {entry["what"]: entry for entry in answer["missing"]}
        assert "MIG" in told["nvml:gpu1/util"]["reason"]
        assert "whole GPUs" in told["MIG slices of GPU 1"]["reason"]
        assert told["MIG slices of GPU 1"]["domains"] == []


@pytest.mark.parametrize(
    ("listed", "numbers"),
    [
        (None, [0, 1]),
        ("1", [0, 1]),
        ("GPU-d", [0, 1]),
        ("MIG-1", [1]),
        ("MIG-1,MIG-0", [0, 1]),
        ("MIG-GPU-dddd/1/0", [0]),
        ("MIG-GPU-dddd/9/0", []),
        ("0", []),
        ("", []),
    ],
)
def test_visible_slices_of_a_divided_card_have_a_share(probe: Probe, listed: str | None, numbers: list[int]):
    environ = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | ({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed})
    sensors = by_id(probe([ONE, DIVIDED], environ))
    whole = sensors["nvml:gpu1/energy"]
    shares = [id_ for id_ in sensors if "/mig" in id_]
    assert shares == [f"nvml:gpu1/energy/mig{number}" for number in numbers]
    for number, id_ in zip(numbers, shares, strict=True):
        of = sensors[id_]
        share = [3, 2][number] / 7
        assert of["scale"] == pytest.approx(whole["scale"] * share)
        assert of["ceiling"] == pytest.approx(whole["ceiling"] * share)
        assert (of["identity"], of["parent"]) == (f"MIG-{number}-dddd", "GPU-dddd")
        assert (of["provenance"], of["model"]["share"]) == ("estimated", pytest.approx(share))
        assert of["domain"] != whole["domain"] == "gpu"


def test_slices_are_read_with_their_card(probe: Probe):
    answer = probe([DIVIDED], reads=3, apart_s=0.05)
    ids = [sensor["id"] for sensor in answer["sensors"]]
    for _, _, values in answer["sweeps"]:
        read = dict(zip(ids, values, strict=True))
        assert read["nvml:gpu0/energy"] > 5_000_000
        assert read["nvml:gpu0/energy/mig0"] == read["nvml:gpu0/energy/mig1"] == read["nvml:gpu0/energy"]


def test_slices_that_do_not_tell_their_size_are_part_of_the_whole(probe: Probe):
    answer = probe([replace(DIVIDED, lacks="attributes,instances")])
    assert not any("/mig" in sensor["id"] for sensor in answer["sensors"])
    assert "MIG slices of GPU 0" in [entry["what"] for entry in answer["missing"]]


def test_a_card_whose_slices_are_all_visible_needs_no_note(probe: Probe):
    answer = probe([replace(DIVIDED, units="421")])
    assert [entry["what"] for entry in answer["missing"]] == ["nvml:gpu0/util"]
    assert sum(sensor["model"].get("share", 0) for sensor in answer["sensors"]) == pytest.approx(1)


def test_a_divided_card_without_a_counter_shares_its_power(probe: Probe):
    sensors = by_id(probe([replace(DIVIDED, lacks="energy,load")]))
    of = sensors["nvml:gpu0/power/mig0"]
    assert (of["kind"], of["unit"], of["domain"], of["ceiling"]) == ("gauge", "W", "slice", None)
    assert of["scale"] == pytest.approx(sensors["nvml:gpu0/power"]["scale"] * 3 / 7)


@pytest.mark.parametrize("lost_at_s", [0, math.inf])
def test_the_driver_is_started_once(tmp_path: Path, probe: Probe, lost_at_s: float):
    log = tmp_path / "log"
    answer = probe([replace(ONE, lost_at_s=lost_at_s)], {"NVML_STUB_LOG": str(log)}, reads=1)
    assert bool(answer["sensors"]) == bool(lost_at_s)
    assert log.read_text() == "+-"  # and let go, before the process ends


@pytest.mark.parametrize(
    ("code", "words", "quiet"),
    [(9, "isn't loaded", True), (18, "different versions", False), (4, "may not", False), (999, "NVML fails", False)],
)
def test_a_driver_that_does_not_start_says_why(probe: Probe, code: int, words: str, quiet: bool):
    answer = probe([ONE], init=code)
    assert answer["sensors"] == []
    (missing,) = answer["missing"]
    assert words in missing["reason"]
    assert missing["remedy"]
    assert missing["quiet"] is quiet


def test_a_library_without_content_says_so(tmp_path: Path, probe: Probe):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "libnvidia-ml.so.1").write_text("")
    (missing,) = probe([ONE], {"LD_LIBRARY_PATH": str(tmp_path / "empty")})["missing"]
    assert "can't be loaded" in missing["reason"]


def test_a_card_that_is_lost_leaves_the_others(probe: Probe):
    lost_at_s = time.monotonic() + 1.0
    answer = probe([replace(ONE, lost_at_s=lost_at_s), TWO], reads=16, apart_s=0.1)
    columns = [sensor["id"] for sensor in answer["sensors"]]
    before = after = 0
    for t0_ns, t1_ns, values in answer["sweeps"]:
        read = dict(zip(columns, values, strict=True))
        assert read["nvml:gpu1/power"] is not None
        if t1_ns / 1e9 < lost_at_s:
            before += read["nvml:gpu0/energy"] is not None
        elif t0_ns / 1e9 > lost_at_s:
            assert {value for id_, value in read.items() if id_.startswith("nvml:gpu0")} == {None}
            after += 1
    assert before
    assert after


def test_a_card_that_is_lost_already_is_told(probe: Probe):
    answer = probe([replace(ONE, lost_at_s=0), TWO])
    assert {sensor["identity"] for sensor in answer["sensors"]} == {TWO.uuid}
    assert [entry["what"] for entry in answer["missing"]] == ["GPU 0"]


def suspended(root: Path, states: dict[str, str]) -> dict[str, str]:
    """A /sys with GPUs of the nvidia driver in these states."""
    for address, state in states.items():
        (root / "bus/pci/drivers/nvidia" / address).mkdir(parents=True)
        (root / "bus/pci/devices" / address / "power").mkdir(parents=True)
        (root / "bus/pci/devices" / address / "power/runtime_status").write_text(f"{state}\n")
    (root / "bus/pci/drivers/nvidia/module").mkdir()
    return {"sys_root": str(root)}


def test_a_suspended_card_is_not_touched(tmp_path: Path, probe: Probe):
    roots = suspended(tmp_path / "sys", {"0000:01:00.0": "suspended", "0000:41:00.0": "active"})
    # Touching the first would fail, and say so.
    cards = [replace(ONE, bus="0000:01:00.0", lacks="handle,index,uuid"), replace(TWO, bus="0000:41:00.0")]
    answer = probe(cards, roots=roots, reads=1)
    assert {sensor["id"].partition("/")[0] for sensor in answer["sensors"]} == {"nvml:gpu1"}
    (missing,) = answer["missing"]
    assert missing["what"] == "nvml:gpu0"
    assert "0000:01:00.0 is suspended" in missing["reason"]
    assert None not in answer["sweeps"][0][2]
    # The application can't use it: there is nothing to tell.
    environ = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert probe(cards, environ, roots=roots)["missing"] == []


def test_where_all_are_suspended_the_library_is_not_even_loaded(tmp_path: Path, probe: Probe):
    answer = probe([ONE], roots=suspended(tmp_path / "sys", {"0000:01:00.0": "suspended"}))
    assert answer["sensors"] == []
    assert [entry["what"] for entry in answer["missing"]] == ["nvml:gpu0"]
    assert "pynvml" not in answer["modules"]


@pytest.fixture
def no_library():
    """A test of what happens without NVIDIA's library."""
    cache = Path("/etc/ld.so.cache")
    if cache.exists() and b"libnvidia-ml.so.1" in cache.read_bytes():
        pytest.skip("this machine has the library of an NVIDIA driver")


def test_without_a_driver_nothing_is_loaded(no_library: None, tmp_path: Path, probe: Probe):
    answer = probe([ONE], {"LD_LIBRARY_PATH": ""}, roots={"proc_root": str(tmp_path)})
    assert [(entry["reason"], entry["quiet"]) for entry in answer["missing"]] == [("no NVIDIA driver here", True)]
    assert {"pynvml", "ctypes"}.isdisjoint(answer["modules"])


def test_a_driver_is_known_by_its_directory(no_library: None, tmp_path: Path, probe: Probe):
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    answer = probe([ONE], {"LD_LIBRARY_PATH": str(tmp_path)}, roots={"proc_root": str(tmp_path / "proc")})
    assert "can't be loaded" in answer["missing"][0]["reason"]
