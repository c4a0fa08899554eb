"""pyRAPL as a reader, on trees of files. The truth is what the files say, and what ``rapl`` says of the same zones."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from test_backend_rapl import by_id, context, write_zone

from perun_like.analysis.counters import unwrap
from perun_like.sensing.contract import Context, Missing
from perun_like.sensing.discovery import find_all
from perun_like.sensing.overlap import split
from perun_like.testing import FuseUnavailableError, Machine, SquareWave, Zone, simulated_powercap
from perun_like_sensors.pyrapl import PyraplBackend
from perun_like_sensors.rapl import RaplBackend

Plant = Callable[[str], Path]

SPEC = {"pyrapl": "perun_like_sensors.pyrapl:PyraplBackend"}
RANGE_UJ = 262_143_328_850  # 32 bits of 61,035 nJ
MODULUS_UJ = (1 << 32) * 61_035 // 1000
READ_BY_RAPL = "Leave out --backend pyrapl: the backend rapl reads it."

pytestmark = pytest.mark.skipif(find_spec("pyRAPL") is None, reason="pyRAPL is not installed")


def test_two_sockets_read_what_the_files_say(plant: Plant):
    root = plant("dual_xeon")
    backend, here = PyraplBackend(), context(root)
    found = backend.find(here)
    ids = ["pyrapl:package-0", "pyrapl:package-0/dram", "pyrapl:package-1", "pyrapl:package-1/dram"]
    assert [sensor.id for sensor in found.sensors] == ids
    assert found.missing == []
    reader = backend.open(list(reversed(found.sensors)), here)
    assert reader.read() == [28_800_716_320, 97_220_117_433, 33_451_022_817, 118_362_984_231]
    zone = root / "sys/devices/virtual/powercap/intel-rapl/intel-rapl:1"
    for value in (0, 1, 262_143_328_850, 7):
        (zone / "energy_uj").write_text(f"{value}\n")
        assert reader.read() == [28_800_716_320, value, 33_451_022_817, 118_362_984_231]
    reader.close()
    reader.close()


@pytest.mark.parametrize("tree", ["sys/class/powercap", "sys/devices/virtual/powercap"])
@pytest.mark.parametrize("machine", ["dual_xeon", "laptop"])
def test_a_sensor_is_that_of_rapl_but_for_who_reads_it(plant: Plant, machine: str, tree: str):
    here = context(plant(machine), tree)
    other = by_id(RaplBackend().find(here))
    sensors = PyraplBackend().find(here).sensors
    assert {sensor.domain for sensor in sensors} <= {"package", "dram"}
    assert len(sensors) == (4 if machine == "dual_xeon" else 1)
    for sensor in sensors:
        same = other[sensor.id.removeprefix("py")]
        assert sensor.source == f"{same.source} through pyRAPL"
        assert sensor._replace(id=same.id, backend=same.backend, source=same.source) == same


def test_a_total_counts_a_zone_once_whichever_comes_first(plant: Plant):
    here = context(plant("dual_xeon"))
    rapl, pyrapl = RaplBackend().find(here).sensors, PyraplBackend().find(here).sensors
    for first, second in ((rapl, pyrapl), (pyrapl, rapl)):
        division = split([*first, *second])
        assert division.added == tuple(sensor.id for sensor in first)
        assert set(division.not_added.values()) == {f"repeats {sensor.id}" for sensor in first}


def test_amd_names_its_zones_as_intel_does(plant: Plant):
    sensors, missing = PyraplBackend().find(context(plant("amd_epyc")))
    assert [(sensor.id, sensor.modulus) for sensor in sensors] == [("pyrapl:package-0", (1 << 32) * 15_258 // 1000)]
    assert missing == []


def test_more_packages_than_digits_and_than_this_machine_has(tmp_path: Path):
    for number in range(12):
        write_zone(tmp_path, f"intel-rapl:{number}", f"package-{number}", f"{number}\n", RANGE_UJ)
    here, backend = Context(powercap_root=str(tmp_path)), PyraplBackend()
    sensors = backend.find(here).sensors
    assert [sensor.id for sensor in sensors] == [f"pyrapl:package-{number}" for number in range(12)]
    reader = backend.open(sensors, here)
    assert reader.read() == list(range(12))
    reader.close()


def test_packages_that_are_not_listed_in_their_order(tmp_path: Path):
    for zone, package in ((0, 3), (1, 0)):
        path = write_zone(tmp_path, f"intel-rapl:{zone}", f"package-{package}", f"{package}00\n", RANGE_UJ)
        write_zone(path, f"intel-rapl:{zone}:0", "dram", f"{package}11\n", RANGE_UJ)
    here, backend = Context(powercap_root=str(tmp_path)), PyraplBackend()
    sensors = backend.find(here).sensors
    reader = backend.open(sensors, here)
    assert dict(zip([sensor.identity for sensor in sensors], reader.read(), strict=True)) == {
        "package-3": 300, "package-3/dram": 311, "package-0": 0, "package-0/dram": 11,
    }  # fmt: skip
    reader.close()


# ---- wraps


@pytest.mark.parametrize("sockets", [1, 2])
def test_a_wrap_is_energy_and_no_failure(tmp_path: Path, sockets: int):
    zones = [write_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}", range_uj=RANGE_UJ) for n in range(sockets)]
    here, backend = Context(powercap_root=str(tmp_path)), PyraplBackend()
    sensors = backend.find(here).sensors
    assert [sensor.modulus for sensor in sensors] == [MODULUS_UJ] * sockets
    reader = backend.open(sensors, here)
    used_uj = [0, 31_000_000, 150_000_000, 163_000_000, 402_000_000]  # from 0.1 kJ below the end of the range
    sweeps: list[list[int | None]] = []
    for used in used_uj:
        for n, zone in enumerate(zones):
            (zone / "energy_uj").write_text(f"{(MODULUS_UJ - 100_000_000 + used * (n + 1)) % MODULUS_UJ}\n")
        sweeps.append(reader.read())
    reader.close()
    t_ns = np.arange(len(used_uj), dtype=np.int64) * 1_000_000_000
    for n, sensor in enumerate(sensors):
        counter = unwrap(sensor, t_ns, t_ns + 5_000, np.array([row[n] for row in sweeps], np.int64))
        assert counter.units.tolist() == [used * (n + 1) for used in used_uj]
        assert (counter.wraps[-1], counter.gaps[-1]) == (1, 0)


# ---- what can't be read


def test_dies_are_left_to_rapl(plant: Plant):
    sensors, (missing,) = PyraplBackend().find(context(plant("multi_die")))
    assert sensors == []
    assert "pyrapl:package-1-die-0, pyrapl:package-1-die-0/dram" in missing.what
    assert missing.reason == "pyRAPL can't tell the dies of a package apart"
    assert missing.remedy == READ_BY_RAPL


@pytest.mark.parametrize("machine", ["virtual_machine", "arm", "no_driver", "container"])
def test_no_zone_has_the_reason_and_remedy_that_rapl_gives(plant: Plant, machine: str):
    here = context(plant(machine))
    sensors, (missing,) = PyraplBackend().find(here)
    assert list(sensors) == []
    assert missing == RaplBackend().find(here).missing[0]._replace(backend="pyrapl")


def test_a_platform_alone_is_nothing_for_it(tmp_path: Path):
    write_zone(tmp_path, "intel-rapl:0", "psys", range_uj=RANGE_UJ)
    write_zone(tmp_path, "intel-rapl-mmio:0", "package-0", range_uj=RANGE_UJ)
    sensors, (missing,) = PyraplBackend().find(Context(powercap_root=str(tmp_path)))
    assert list(sensors) == []
    assert missing.reason == f"pyRAPL reads packages and dram only, and {tmp_path} has neither"


def test_zones_that_it_does_not_recognise_do_not_cost_the_others(tmp_path: Path):
    package = write_zone(tmp_path, "intel-rapl:0", "package-0", "100\n", RANGE_UJ)
    for number in (0, 1):  # of two memories it takes the first
        write_zone(package, f"intel-rapl:0:{number}", "dram", f"{number}\n", RANGE_UJ)
    for number in (1, 2):  # two packages of one name
        write_zone(tmp_path, f"intel-rapl:{number}", "package-1", "100\n", RANGE_UJ)
    write_zone(tmp_path, "intel-rapl:9", "package-9", "900\n", RANGE_UJ)  # it looks no further than the first gap
    sensors, missing = PyraplBackend().find(Context(powercap_root=str(tmp_path)))
    assert [sensor.id for sensor in sensors] == ["pyrapl:package-0", "pyrapl:package-0/dram"]
    lost = ("package-0/dram@intel-rapl:0:1", "package-1", "package-1@intel-rapl:2", "package-9")
    what = ", ".join(f"pyrapl:{name}" for name in lost)
    domains = ("dram", "package", "package", "package")
    assert missing == [Missing("pyrapl", what, "pyRAPL doesn't recognise the zone", READ_BY_RAPL, domains=domains)]


def test_a_package_without_a_number_confuses_it_and_is_reported(tmp_path: Path):
    write_zone(tmp_path, "intel-rapl:0", "package", range_uj=RANGE_UJ)
    sensors, (missing,) = PyraplBackend().find(Context(powercap_root=str(tmp_path)))
    assert list(sensors) == []
    assert (missing.what, missing.reason) == ("pyrapl:package", "pyRAPL doesn't recognise the zone")


def test_a_zone_that_gives_no_number_does_not_cost_the_others(tmp_path: Path):
    for number, energy in enumerate(("1000\n", "garbage\n", "-1\n", "nan\n", "1e300\n", None)):
        write_zone(tmp_path, f"intel-rapl:{number}", f"package-{number}", energy, RANGE_UJ)
    found = PyraplBackend().find(Context(powercap_root=str(tmp_path)))
    assert [sensor.id for sensor in found.sensors] == ["pyrapl:package-0"]
    assert {missing.reason: missing.what for missing in found.missing} == {
        "energy_uj holds no number": ", ".join(f"pyrapl:package-{number}" for number in range(1, 5)),
        "reading energy_uj fails: No such file or directory": "pyrapl:package-5",
    }


def test_failing_reads_are_missing_for_their_zone_only_and_may_recover(tmp_path: Path):
    zones = [write_zone(tmp_path, f"intel-rapl:{n}", f"package-{n}", f"{n}00\n", RANGE_UJ) for n in range(3)]
    here, backend = Context(powercap_root=str(tmp_path)), PyraplBackend()
    sensors = backend.find(here).sensors
    (zones[2] / "energy_uj").unlink()  # gone between finding and opening
    reader = backend.open(sensors, here)
    assert reader.read() == [0, 100, None]
    for garbage in ("", "12 34\n", "0x10\n", "\n", "None\n", "inf\n"):
        (zones[1] / "energy_uj").write_text(garbage)
        assert reader.read() == [0, None, None]
    (zones[1] / "energy_uj").write_text("107\n")
    assert reader.read() == [0, 107, None]
    reader.close()


def test_no_permission_says_what_grants_it_for_good():
    powers = [SquareWave(20, 80, 50_000_000), SquareWave(10, 90, 70_000_000)]
    zones = [Zone(f"intel-rapl:{n}", f"package-{n}", power, readable=n == 1) for n, power in enumerate(powers)]
    try:
        with simulated_powercap(Machine(zones)) as powercap:
            sensors, missing = PyraplBackend().find(Context(powercap_root=powercap.root))
    except FuseUnavailableError as error:
        pytest.skip(f"files that even root can't read need FUSE: {error}")
    assert [sensor.id for sensor in sensors] == ["pyrapl:package-1"]
    reason = "energy_uj is readable by root only since kernel 5.10 (CVE-2020-8694)"
    remedy = "'perun-like setup' prints what grants it for good."
    assert missing == [Missing("pyrapl", "pyrapl:package-0", reason, remedy, domains=("package",))]


# ---- the package pyRAPL


def test_not_installed_is_a_reason_with_a_remedy(plant: Plant, monkeypatch: pytest.MonkeyPatch):
    here = context(plant("laptop"))
    sensors = PyraplBackend().find(here).sensors
    monkeypatch.setitem(sys.modules, "pyRAPL", None)  # how an import is made to fail
    found = PyraplBackend().find(here)
    assert list(found.sensors) == []
    reason, remedy = "the package pyRAPL is not installed", 'pip install "perun-like[pyrapl]"'
    assert found.missing == [Missing("pyrapl", "pyrapl:package-0", reason, remedy, domains=("package",))]
    reader = PyraplBackend().open(sensors, here)
    assert reader.read() == [None]
    reader.close()


def test_a_broken_pyrapl_is_reported_and_leaves_the_one_that_was_imported(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "broken" / "pyRAPL").mkdir(parents=True)
    (tmp_path / "broken" / "pyRAPL" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "broken")
    before = {name for name in sys.modules if name.startswith("pyRAPL")}
    (missing,) = find_all(SPEC, context(plant("laptop"))).missing
    assert "the backend failed: ModuleNotFoundError: No module named 'pyRAPL.device'" in missing.reason
    assert {name for name in sys.modules if name.startswith("pyRAPL")} == before


QUIET = """
import logging, sys
sys.path[:0] = {paths!r}
from perun_like.sensing.contract import Context
from perun_like_sensors.pyrapl import PyraplBackend
context, backend = Context(powercap_root={root!r}), PyraplBackend()
sensors = backend.find(context).sensors
reader = backend.open(sensors, context)
print(*reader.read())
reader.close()
assert not logging.root.handlers, logging.root.handlers
assert logging.root.level == logging.WARNING
loud = [name for name in sys.modules if name.partition(".")[0] in ("pandas", "pymongo", "pyRAPL")]
assert not loud, loud
"""


@pytest.mark.parametrize("isolated", [True, False])
def test_nothing_is_heard_of_its_import(plant: Plant, tmp_path: Path, isolated: bool):
    """As in the sampling process, or in that of a command; pandas, if it is there, would be heard."""
    (tmp_path / "loud").mkdir()
    for name in ("pandas", "pymongo"):
        (tmp_path / "loud" / f"{name}.py").write_text(f"import sys; sys.exit('{name} was imported')")
    root = str(plant("laptop") / "sys/class/powercap")
    code = QUIET.format(paths=[str(tmp_path / "loud"), *filter(None, sys.path)], root=root)
    # Every warning is an error, and everything is compiled anew: that is when Python warns of strings.
    options = ["-W", "error", "-X", f"pycache_prefix={tmp_path / 'cache'}", *(["-I", "-S"] if isolated else [])]
    done = subprocess.run([sys.executable, *options, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 1


def test_the_command_that_lists_sensors_is_quiet_too(perun: Run, plant: Plant):
    root = plant("laptop") / "sys/class/powercap"
    done = perun("sensors", "--backend", "pyrapl", "--powercap-root", str(root))
    assert (done.returncode, done.stderr) == (0, "")
    assert "pyrapl:package-0" in done.stdout


def test_unless_it_is_named_it_is_mentioned_and_not_asked(perun: Run, plant: Plant):
    options = ("sensors", "--powercap-root", str(plant("laptop") / "sys/class/powercap"))
    text = perun(*options).stdout
    assert "\nUsed only if named: --backend pyrapl\n" in text
    assert text.count("pyrapl") == 1
    assert "Used only" not in perun(*options, "--backend", "rapl").stdout
    assert "pyrapl" not in perun(*options, "--json").stdout
    assert "pyrapl, rapl" in perun("sensors", "--backend", "pyrappel").stderr


APART = """
import logging, sys
logging.root.addHandler(logging.NullHandler())
import pyRAPL
from perun_like.sensing.contract import Context
from perun_like_sensors.pyrapl import PyraplBackend
PyraplBackend().find(Context(powercap_root={root!r}))
assert sys.modules["pyRAPL"] is pyRAPL
assert sys.modules["pyRAPL.device_api"] is pyRAPL.device_api
assert "open" not in vars(pyRAPL.device_api)
import os
assert pyRAPL.device_api.os is os
"""


def test_a_program_that_uses_pyrapl_itself_keeps_its_own(plant: Plant):
    code = APART.format(root=str(plant("laptop") / "sys/class/powercap"))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
