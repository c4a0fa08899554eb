"""What a total may add: each case is a machine whose sum of disjoint parts is known."""

from __future__ import annotations

import random

from perun_like.sensing.contract import COUNTER, ESTIMATED, GAUGE, MEASURED, Sensor
from perun_like.sensing.overlap import Split, covered_estimates, is_energy, mirrored, split


def energy(id_: str, domain: str, identity: str, parent: str | None = None, provenance: str = MEASURED) -> Sensor:
    backend = id_.partition(":")[0]
    return Sensor(id_, backend, "cpu", "energy", COUNTER, "J", domain=domain, identity=identity, parent=parent,
                  provenance=provenance, scale=1e-6, tick_ns=976_563, ceiling=300.0, resolution=62)  # fmt: skip


PSYS = energy("rapl:psys", "psys", "psys")
PACKAGE = energy("rapl:package-0", "package", "package-0")
CORE = energy("rapl:package-0/core", "core", "package-0/core", "package-0")
UNCORE = energy("rapl:package-0/uncore", "uncore", "package-0/uncore", "package-0")
DRAM = energy("rapl:package-0/dram", "dram", "package-0/dram")
MMIO = energy("rapl:mmio:package-0", "package", "package-0")
CPU_MODEL = energy("estimate:cpu", "package", "estimate/cpu", provenance=ESTIMATED)
DRAM_MODEL = energy("estimate:dram", "dram", "estimate/dram", provenance=ESTIMATED)
GPU = energy("nvml:gpu0/energy", "gpu", "GPU-a")
GPU_POWER = Sensor("nvml:gpu1/power", "nvml", "gpu", "power", GAUGE, "W", domain="gpu", identity="GPU-b")
BESIDE = GPU_POWER._replace(id="nvml:gpu0/power", domain=None, identity="GPU-a")
MEMORY_USED = Sensor("memory:used", "memory", "memory", "memory_used", "gauge", "B")


def test_power_stands_for_an_energy_only_where_there_is_no_counter():
    assert [is_energy(sensor) for sensor in (GPU, GPU_POWER, BESIDE, MEMORY_USED)] == [True, True, False, False]
    assert split([PACKAGE, GPU, BESIDE, GPU_POWER]) == Split(
        ("rapl:package-0", "nvml:gpu0/energy", "nvml:gpu1/power"), {}, {}
    )


def test_what_the_application_cannot_see_is_listed_outside():
    unseen = GPU._replace(outside="not visible to the application")
    assert split([unseen, GPU_POWER]) == Split(
        ("nvml:gpu1/power",), {"nvml:gpu0/energy": "not visible to the application"}, {}
    )


def test_a_laptop_adds_its_package_and_says_why_nothing_else():
    assert split([PSYS, PACKAGE, CORE, UNCORE, MMIO, MEMORY_USED]) == Split(
        ("rapl:package-0",),
        {
            "rapl:psys": "platform counter, never added",
            "rapl:package-0/core": "inside rapl:package-0",
            "rapl:package-0/uncore": "inside rapl:package-0",
            "rapl:mmio:package-0": "repeats rapl:package-0",
        },
        {},
    )


def test_memory_of_a_server_stands_beside_its_package():
    assert split([PACKAGE, DRAM]).added == ("rapl:package-0", "rapl:package-0/dram")


def test_mmio_stands_for_the_package_where_the_other_door_is_closed():
    assert split([MMIO, CORE]) == Split(
        ("rapl:mmio:package-0",),
        {"rapl:package-0/core": "inside rapl:mmio:package-0"},
        {},
    )


def test_the_platform_alone_is_no_total():
    assert split([PSYS]) == Split((), {"rapl:psys": "platform counter, never added"}, {})


def test_the_inside_of_an_unreadable_package_is_a_partial_sum():
    division = split([PSYS, CORE, UNCORE])
    assert division.added == ("rapl:package-0/core", "rapl:package-0/uncore")
    assert division.partial["rapl:package-0/core"] == "package-0 can't be read: only what is inside it is added"


def test_containment_holds_through_levels_that_are_not_there():
    tile = energy("other:tile", "tile", "tile", "package-0/core")
    assert split([PACKAGE, CORE, tile]).not_added["other:tile"] == "inside rapl:package-0/core"
    assert split([PACKAGE, tile, CORE]).added == ("rapl:package-0",)


def test_two_that_contain_each_other_do_not_hang_and_one_is_counted():
    a, b = energy("x:a", "x", "a", "b"), energy("x:b", "x", "b", "a")
    assert split([a, b]).added in {("x:a",), ("x:b",), ()}


def test_sensors_without_identity_are_things_of_their_own():
    assert split([energy("x:1", "x", ""), energy("x:2", "x", "")]).added == ("x:1", "x:2")


def test_estimates_stand_alone():
    assert split([CPU_MODEL, DRAM_MODEL]).added == ("estimate:cpu", "estimate:dram")


def test_an_estimate_gives_way_to_any_counter_of_its_processor_wherever_it_stands():
    for measured in (PACKAGE, CORE, UNCORE):
        division = split([CPU_MODEL, measured, DRAM_MODEL])
        assert division.not_added == {"estimate:cpu": f"measured by {measured.id}"}
        assert "estimate:dram" in division.added
    assert covered_estimates([DRAM_MODEL, DRAM]) == {"estimate:dram": "measured by rapl:package-0/dram"}
    assert covered_estimates([PSYS, CPU_MODEL]) == {}


def sweeps_of_dies(shared: bool) -> list[list[int | None]]:
    """Reads of two dies, some microjoules apart as the counter goes on, or of two counters."""
    rng = random.Random(3)
    a, b, rows = 5_000_000_000, 5_007_000_000, list[list[int | None]]()
    for _ in range(50):
        a += rng.randrange(5_000_000, 30_000_000)
        b += rng.randrange(5_000_000, 30_000_000)
        rows.append([a, a + rng.randrange(0, 60_000) if shared else b])
    return rows


def test_dies_that_mirror_one_counter_are_counted_once():
    dies = [energy(f"rapl:package-0-die-{n}", "package", f"package-0-die-{n}") for n in (0, 1)]
    assert mirrored(dies, sweeps_of_dies(shared=True)) == {"rapl:package-0-die-1": "rapl:package-0-die-0"}
    assert mirrored(dies, sweeps_of_dies(shared=False)) == {}
    core = energy("rapl:package-0-die-1/core", "core", "package-0-die-1/core", "package-0-die-1")
    division = split([*dies, core], mirrored(dies, sweeps_of_dies(shared=True)))
    assert division.added == ("rapl:package-0-die-0",)
    assert division.not_added["rapl:package-0-die-1"] == "mirrors rapl:package-0-die-0"


def test_too_little_is_no_proof_of_a_mirror():
    dies = [energy(f"rapl:package-0-die-{n}", "package", f"package-0-die-{n}") for n in (0, 1)]
    other_socket = energy("rapl:package-1-die-0", "package", "package-1-die-0")
    rows = sweeps_of_dies(shared=True)
    assert mirrored(dies, rows[:1]) == {}
    assert mirrored(dies, [[7, 7], [7, 7]]) == {}
    assert mirrored(dies, [[None, 7], [9, None]]) == {}
    assert mirrored([dies[0], other_socket], rows) == {}
