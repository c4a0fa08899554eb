"""RAPL through powercap, on trees of real machines' layouts and through real file descriptors."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perun_like.sensing.contract import Context, Found, Sensor
from perun_like.sensing.overlap import split
from perun_like_sensors._powercap import KNOWN_UNITS_NJ, find_zones, learn_unit_nj, wrap_of_range
from perun_like_sensors.rapl import RaplBackend

Plant = Callable[[str], Path]
NOBODY = 65534


def context(root: Path, tree: str = "sys/class/powercap") -> Context:
    return Context(powercap_root=str(root / tree), proc_root=str(root / "proc"), sys_root=str(root / "sys"))


def by_id(found: Found) -> dict[str, Sensor]:
    return {sensor.id: sensor for sensor in found.sensors}


def test_two_sockets(plant: Plant):
    found = RaplBackend().find(context(plant("dual_xeon")))
    sensors = by_id(found)
    assert list(sensors) == ["rapl:package-0", "rapl:package-0/dram", "rapl:package-1", "rapl:package-1/dram"]
    assert split(found.sensors).added == tuple(sensors)
    package, dram = sensors["rapl:package-0"], sensors["rapl:package-0/dram"]
    # 2^32 units of 2^-14 J as the kernel rounds it (61,035 nJ), and of 15.3 uJ.
    assert (package.modulus, package.resolution) == ((1 << 32) * 61_035 // 1000, 62)
    assert (dram.modulus, dram.resolution) == ((1 << 32) * 15_300 // 1000, 16)
    assert (package.ceiling, dram.ceiling) == (3 * 361.0, 3 * 40.5)
    assert (dram.group, package.group) == ("dram", "cpu")
    assert found.missing == []


def test_values_are_what_the_files_say(plant: Plant):
    root = plant("dual_xeon")
    backend, here = RaplBackend(), context(root)
    sensors = list(reversed(backend.find(here).sensors))
    reader = backend.open(sensors, here)
    assert reader.read() == [28_800_716_320, 97_220_117_433, 33_451_022_817, 118_362_984_231]
    zone = root / "sys/devices/virtual/powercap/intel-rapl/intel-rapl:1"
    (zone / "energy_uj").write_text("0\n")
    assert reader.read()[1] == 0
    reader.close()


def test_the_nested_tree_that_containers_are_given_is_the_same_machine(plant: Plant):
    for machine in ("dual_xeon", "laptop"):
        root = plant(machine)
        flat = RaplBackend().find(context(root)).sensors
        nested = RaplBackend().find(context(root, "sys/devices/virtual/powercap")).sensors
        assert [s._replace(source="") for s in nested] == [s._replace(source="") for s in flat]


def test_a_laptop_counts_its_package_once(plant: Plant):
    found = RaplBackend().find(context(plant("laptop")))
    sensors = by_id(found)
    assert list(sensors) == [
        "rapl:package-0", "rapl:package-0/core", "rapl:package-0/uncore", "rapl:psys", "rapl:mmio:package-0",
    ]  # fmt: skip
    assert split(found.sensors).added == ("rapl:package-0",)
    assert split(found.sensors).partial == {}
    assert sensors["rapl:psys"].group == "platform"
    assert sensors["rapl:package-0"].ceiling == 3 * 121.0
    assert sensors["rapl:package-0/core"].ceiling == 2000.0


def test_dies_are_devices_of_their_own(plant: Plant):
    found = RaplBackend().find(context(plant("multi_die")))
    dies = [f"rapl:package-{socket}-die-{die}" for socket in (0, 1) for die in (0, 1)]
    assert [sensor.id for sensor in found.sensors if sensor.domain == "package"] == dies
    assert len(split(found.sensors).added) == 8


def test_amd(plant: Plant):
    found = RaplBackend().find(context(plant("amd_epyc")))
    assert split(found.sensors).added == ("rapl:package-0",)
    package = by_id(found)["rapl:package-0"]
    assert (package.modulus, package.resolution, package.ceiling) == ((1 << 32) * 15_258 // 1000, 16, 2000.0)


def write_zone(root: Path, path: str, name: str, energy: str | None = "1000\n", range_uj: int | None = None) -> Path:
    zone = root / path
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{name}\n")
    if energy is not None:
        (zone / "energy_uj").write_text(energy)
    if range_uj is not None:
        (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return zone


def test_more_than_ten_packages_in_numeric_order(tmp_path: Path):
    for number in range(12):
        write_zone(tmp_path, f"intel-rapl:{number}", f"package-{number}", range_uj=262_143_328_850)
    found = RaplBackend().find(Context(powercap_root=str(tmp_path)))
    assert [sensor.id for sensor in found.sensors] == [f"rapl:package-{number}" for number in range(12)]


def test_zones_of_one_name_keep_ids_of_their_own_and_are_added_once(tmp_path: Path):
    for number in (0, 1):
        write_zone(tmp_path, f"intel-rapl:{number}", "package-0", range_uj=262_143_328_850)
    found = RaplBackend().find(Context(powercap_root=str(tmp_path)))
    assert [sensor.id for sensor in found.sensors] == ["rapl:package-0", "rapl:package-0@intel-rapl:1"]
    assert split(found.sensors).added == ("rapl:package-0",)


# ---- where a counter wraps


@given(st.integers(1000, 1 << 20))
def test_a_range_tells_the_unit_and_so_the_modulus(unit_nj: int):
    wrap = wrap_of_range(((1 << 32) - 1) * unit_nj // 1000)
    assert wrap.modulus == (1 << 32) * unit_nj // 1000
    assert wrap.resolution == -(-unit_nj // 1000)


@given(st.sampled_from(KNOWN_UNITS_NJ), st.integers(16, 31))
def test_a_smaller_register_is_recognised_by_its_unit(unit_nj: int, bits: int):
    wrap = wrap_of_range(((1 << bits) - 1) * unit_nj // 1000)
    assert (wrap.modulus, wrap.resolution) == ((1 << bits) * unit_nj // 1000, -(-unit_nj // 1000))


@given(st.sampled_from(KNOWN_UNITS_NJ), st.sets(st.integers(1, (1 << 32) - 1), min_size=4, max_size=8))
def test_a_unit_is_learned_right_or_not_at_all(unit_nj: int, counts: set[int]):
    assert learn_unit_nj([count * unit_nj // 1000 for count in counts]) in (unit_nj, None)


def test_a_unit_is_learned_from_counters_as_they_run():
    values = [count * 61_035 // 1000 for count in (1_939_264_101, 1_939_265_877, 1_939_268_003, 1_939_270_012)]
    assert learn_unit_nj(values) == 61_035
    assert learn_unit_nj(values[:1] * 8) is None
    assert learn_unit_nj([value + 7 for value in values]) is None


def test_an_unreadable_range_is_had_from_a_sibling_or_not_invented(tmp_path: Path):
    write_zone(tmp_path, "intel-rapl:0", "package-0", range_uj=262_143_328_850)
    write_zone(tmp_path, "intel-rapl:1", "package-1")
    write_zone(tmp_path, "intel-rapl:1/intel-rapl:1:0", "dram")
    here, backend = Context(powercap_root=str(tmp_path)), RaplBackend()
    sensors = by_id(backend.find(here))
    assert sensors["rapl:package-1"].modulus == sensors["rapl:package-0"].modulus
    assert sensors["rapl:package-1"].source.endswith("energy_uj (modulus as of another zone of its kind)")
    assert sensors["rapl:package-1/dram"].modulus is None
    assert "modulus unknown, a wrap is a gap" in sensors["rapl:package-1/dram"].source
    reader = backend.open(list(sensors.values()), here)
    assert reader.read() == [1000, 1000, 1000]
    reader.close()


# ---- what can't be read


@pytest.mark.parametrize(
    ("machine", "reason", "remedy"),
    [
        ("virtual_machine", "there is no powercap tree at .*: this is a virtual machine", "Run on the machine itself"),
        ("arm", "ARM processors have no RAPL", "estimated"),
        ("no_driver", "has no RAPL zone: .*older than 5.11", "modprobe intel_rapl_msr"),
        ("container", "is masked: its zones are listed but lead nowhere", "container options"),
    ],
)
def test_no_zone_has_a_reason_and_a_remedy(plant: Plant, machine: str, reason: str, remedy: str):
    import re

    sensors, (missing,) = RaplBackend().find(context(plant(machine)))
    assert list(sensors) == []
    assert re.search(reason, missing.reason)
    assert remedy in missing.remedy


def test_a_zone_that_gives_no_number_does_not_cost_the_others(tmp_path: Path):
    write_zone(tmp_path, "intel-rapl:0", "package-0")
    write_zone(tmp_path, "intel-rapl:1", "package-1", energy="garbage\n")
    write_zone(tmp_path, "intel-rapl:2", "package-2", energy=None)
    (write_zone(tmp_path, "intel-rapl:3", "package-3", energy=None) / "energy_uj").mkdir()
    found = RaplBackend().find(Context(powercap_root=str(tmp_path)))
    assert [sensor.id for sensor in found.sensors] == ["rapl:package-0"]
    reasons = {missing.what: missing.reason for missing in found.missing}
    assert {missing.domains for missing in found.missing} == {("package",)}
    assert reasons == {
        "rapl:package-1": "energy_uj holds no number",
        "rapl:package-2": "reading energy_uj fails: No such file or directory",
        "rapl:package-3": "reading energy_uj fails: Is a directory",
    }


def test_what_a_total_lacks_is_told_of_each_zone(tmp_path: Path):
    write_zone(tmp_path, "intel-rapl:0", "package-0", energy="garbage\n")
    for number, name in enumerate(("core", "dram")):
        write_zone(tmp_path, f"intel-rapl:0:{number}", name, energy="garbage\n")
    write_zone(tmp_path, "intel-rapl:1", "psys", energy="garbage\n")
    write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", energy="garbage\n")
    (missing,) = RaplBackend().find(Context(powercap_root=str(tmp_path))).missing
    lacking = dict(zip(missing.what.split(", "), missing.domains, strict=True))
    assert lacking == {
        "rapl:package-0": "package", "rapl:package-0/core": "", "rapl:package-0/dram": "dram", "rapl:psys": "",
        "rapl:mmio:package-0": "",
    }  # fmt: skip


def test_failing_reads_are_missing_for_their_zone_only_and_may_recover(tmp_path: Path):
    zones = [write_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}", f"{n}00\n") for n in range(3)]
    here, backend = Context(powercap_root=str(tmp_path)), RaplBackend()
    sensors = backend.find(here).sensors
    (zones[2] / "energy_uj").unlink()  # gone between finding and opening
    reader = backend.open(sensors, here)
    assert reader.read() == [0, 100, None]
    for garbage in ("", "12 34\n", "0x10\n", "\n", "None\n"):
        (zones[1] / "energy_uj").write_text(garbage)
        assert reader.read() == [0, None, None]
    (zones[1] / "energy_uj").write_text("107\n")
    assert reader.read() == [0, 107, None]
    reader.close()
    reader.close()


@pytest.fixture
def roots_only() -> Iterator[Path]:
    """A tree that only its owner may read, in a place that everyone may enter."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    for n in (0, 1):
        zone = write_zone(root, f"intel-rapl:{n}", f"package-{n}", range_uj=262_143_328_850)
        (zone / "energy_uj").chmod(0o000 if os.getuid() else 0o400)
    yield root
    shutil.rmtree(root)


def test_no_permission_says_what_grants_it_for_good(roots_only: Path):
    found = json.loads(as_somebody_else(lambda: RaplBackend().find(Context(powercap_root=str(roots_only)))))
    sensors, missing = found
    assert sensors == []
    assert missing == [
        [
            "rapl",
            "rapl:package-0, rapl:package-1",
            "energy_uj is readable by root only since kernel 5.10 (CVE-2020-8694)",
            "'perun-like setup' prints what grants it for good.",
            False,
            ["package", "package"],
        ]
    ]


def as_somebody_else(function: Callable[[], object]) -> str:
    """The function's result as JSON, from a process that isn't root's."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(writable, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return text


def test_zones_are_found_once_whatever_links_lead_to_them(plant: Plant):
    zones = find_zones(str(plant("laptop") / "sys/class/powercap"))
    assert [zone.name for zone in zones] == ["package-0", "core", "uncore", "psys", "package-0"]
