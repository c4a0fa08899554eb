"""Whole runs on the simulated machine: the truth lies within the bounds, the estimate beside it.

The truth is the analytic integral of the power that the machine's counters were made from; the profiler, its sampler
and the program are real processes that read those counters from a powercap tree.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run

import perun_like
from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.model.recording import Recording
from perun_like.store.reader import read_recording
from perun_like.testing import (
    Constant,
    Fault,
    FuseUnavailableError,
    Machine,
    Ramp,
    RandomWalk,
    SquareWave,
    Sum,
    Zone,
    simulated_powercap,
    two_socket_server,
)

MS = 1_000_000
S = 1_000 * MS

Profiled = tuple[DataNode, Recording, Machine]


@pytest.fixture
def profile_on(perun: Run, tmp_path: Path, clean_environ: dict[str, str]) -> Callable[..., Profiled]:
    """Profile a script on a simulated machine; returns the tree, the recording and the machine as it ran."""

    def run(machine: Machine, source: str, *options: str, code: int = 0) -> Profiled:
        (tmp_path / "script.py").write_text(source)
        try:
            with simulated_powercap(machine) as powercap:
                ended = perun("profile", *options, "script.py", env={**clean_environ, **powercap.environ})
                assert ended.returncode == code, ended.stderr
                (path,) = tmp_path.glob("perun_results/script/*.h5")
                recording = read_recording(str(path))
                return perun_like.load(str(path)), recording, powercap.machine
        except FuseUnavailableError as error:
            pytest.skip(f"the simulated powercap tree needs FUSE: {error}")

    return run


def metric(tree: DataNode, name: str) -> Metric:
    return tree.find(NodeType.RUN)[0].metrics[name]


def truth_of(profiled: Profiled, *zones: str) -> float:
    """What zones really used while the program ran."""
    _, recording, machine = profiled
    return sum(machine.truth_j(zone, *recording.window_ns) for zone in zones)


def sensor(tree: DataNode, identity: str) -> DataNode:
    (node,) = [node for node in tree.find(NodeType.SENSOR) if node.id == identity]
    return node


def package(power: object, **options: object) -> Machine:
    return Machine([Zone("intel-rapl:0", "package-0", power, **options)])  # type: ignore[arg-type]


MACHINES = {
    "square wave of 130 ms": lambda: package(SquareWave(20, 180, 130 * MS)),
    "square wave of 3 ms": lambda: package(SquareWave(5, 300, 3 * MS)),
    "ramp": lambda: package(Ramp([(0, 10.0), (2 * S, 200.0), (3 * S, 30.0), (9 * S, 90.0)])),
    "random walk": lambda: package(RandomWalk(15, 230, 7 * MS, seed=4)),
    "one wrap": lambda: package(
        Sum([Constant(40), SquareWave(0, 60, 90 * MS)]), register_bits=24, start_uj=950_000_000, max_power_w=300
    ),
}


@pytest.mark.parametrize("kind", MACHINES)
def test_two_seconds_at_the_default_period(profile_on: Callable[..., Profiled], kind: str) -> None:
    tree, recording, _ = profiled = profile_on(MACHINES[kind](), "import time; time.sleep(2)")
    true_j = truth_of(profiled, "intel-rapl:0")
    assert metric(tree, "energy_j").provenance is Provenance.MIXED  # the memory's part is an estimate here
    measured = metric(tree, "cpu_energy_j")
    assert measured.provenance is Provenance.MEASURED
    assert measured.lower <= true_j <= measured.upper
    assert measured.value == pytest.approx(true_j, rel=0.005)
    if kind == "one wrap":
        (rapl,) = [stream for stream in recording.hosts[0].streams if stream.backend == "rapl"]
        assert (rapl.raw[0, 1:] < rapl.raw[0, :-1]).sum() == 1


def test_a_server_s_zones_are_added_once(profile_on: Callable[..., Profiled]) -> None:
    tree, _, machine = profiled = profile_on(two_socket_server(seed=3), "import time; time.sleep(0.7)")
    zones = {zone.path: zone.name for zone in machine.zones}
    packages = truth_of(profiled, *(path for path, name in zones.items() if name.startswith("package")))
    drams = truth_of(profiled, *(path for path, name in zones.items() if name == "dram"))
    for name, true_j in (("cpu_energy_j", packages), ("dram_energy_j", drams), ("energy_j", packages + drams)):
        assert metric(tree, name).lower <= true_j <= metric(tree, name).upper
        assert metric(tree, name).provenance is Provenance.MEASURED
    assert "inside" in sensor(tree, "rapl:package-0/core").metadata["not_added"]


def test_regions_get_the_energy_of_their_time(profile_on: Callable[..., Profiled]) -> None:
    source = (
        "import time\nfrom perun_like import region\n"
        "for name, seconds in (('first', 0.4), ('second', 0.3), ('first', 0.2)):\n"
        "    with region(name): time.sleep(seconds)\n"
    )
    tree, recording, machine = profile_on(two_socket_server(seed=9), source, "--period", "5ms")
    added = [zone.path for zone in machine.zones if zone.name.startswith("package") or zone.name == "dram"]
    (calls,) = recording.hosts[0].regions
    for region in tree.find(NodeType.RUN)[0].regions:
        mine = calls.region == calls.names.index(region.name)
        true_j = sum(
            machine.truth_j(path, int(a), int(b))
            for path in added
            for a, b in zip(calls.start_ns[mine], calls.stop_ns[mine], strict=True)
        )
        energy = region.metrics["energy_j"]
        assert region.calls == mine.sum()
        assert energy.lower <= true_j <= energy.upper
        assert energy.value == pytest.approx(true_j, rel=0.02)


def test_a_sensor_that_fails_half_way_is_partial_and_says_so(profile_on: Callable[..., Profiled]) -> None:
    broken = Machine(
        [
            Zone("intel-rapl:0", "package-0", RandomWalk(15, 200, 20 * MS, seed=1)),
            Zone(
                "intel-rapl:1",
                "package-1",
                SquareWave(10, 90, 70 * MS),
                faults=(Fault("vanished", 700 * MS),),
            ),
        ]
    )
    tree, _, _ = profiled = profile_on(broken, "import time; time.sleep(1.5)")
    whole, part = metric(tree, "cpu_energy_j"), sensor(tree, "rapl:package-1").metrics["energy_j"]
    assert any("package-1" in name for name in whole.missing)
    assert part.value < truth_of(profiled, "intel-rapl:1")
    assert whole.upper is None
    assert whole.lower <= truth_of(profiled, "intel-rapl:0", "intel-rapl:1")
    healthy = sensor(tree, "rapl:package-0").metrics["energy_j"]
    assert healthy.lower <= truth_of(profiled, "intel-rapl:0") <= healthy.upper


def test_dropped_reads_do_not_become_energy(profile_on: Callable[..., Profiled]) -> None:
    faults = tuple(Fault("dropped", i * 350 * MS, i * 350 * MS + 150 * MS) for i in range(1, 6))
    machine = Machine([Zone("intel-rapl:0", "package-0", SquareWave(20, 180, 130 * MS), faults=faults)])
    tree, recording, _ = profiled = profile_on(machine, "import time; time.sleep(2)", "--period", "20ms")
    (rapl,) = [stream for stream in recording.hosts[0].streams if stream.backend == "rapl"]
    assert not rapl.valid.all()
    energy = metric(tree, "cpu_energy_j")
    true_j = truth_of(profiled, "intel-rapl:0")
    assert energy.lower <= true_j <= energy.upper
    assert energy.value == pytest.approx(true_j, rel=0.05)  # where nothing was read for 150 ms, interpolation guesses


def test_without_permission_the_report_says_what_would_grant_it(
    perun: Run, tmp_path: Path, clean_environ: dict[str, str]
) -> None:
    (tmp_path / "script.py").write_text("import time; time.sleep(0.3)")
    machine = Machine([Zone("intel-rapl:0", "package-0", SquareWave(20, 80, 50 * MS), readable=False)])
    try:
        with simulated_powercap(machine) as powercap:
            ended = perun("profile", "script.py", env={**clean_environ, **powercap.environ})
    except FuseUnavailableError as error:
        pytest.skip(f"the simulated powercap tree needs FUSE: {error}")
    assert "perun-like setup" in ended.stderr
    assert "estimated" in ended.stderr
