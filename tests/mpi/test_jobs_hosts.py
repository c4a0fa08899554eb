"""Whole jobs on several hosts: each with counters and power of its own, all of them in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import PERUN, Run

from mpi.conftest import KINDS, MpiRun
from mpi.jobs import assert_nothing_left, only_result, processes_in, results
from perun_like.model.node import NodeType, Provenance
from perun_like.testing import (
    FuseUnavailableError,
    Machine,
    Ramp,
    RandomWalk,
    SimulatedPowercap,
    SquareWave,
    Zone,
    simulated_powercap,
)

Script = Callable[..., str]

MS = 1_000_000
HOSTS = {"a": 2, "b": 2, "c": 2}
MACHINES = {
    "a": Machine([Zone("intel-rapl:0", "package-0", RandomWalk(15, 230, 20 * MS, seed=1))]),
    "b": Machine(
        [
            Zone("intel-rapl:0", "package-0", SquareWave(40, 130, 70 * MS)),
            Zone("intel-rapl:1", "package-1", Ramp([(0, 20.0), (1500 * MS, 90.0), (3000 * MS, 40.0)])),
        ]
    ),
    "c": Machine([Zone("intel-rapl:0", "package-0", RandomWalk(200, 400, 33 * MS, seed=9))]),
}
PROGRAM = """
import sys, time
from mpi4py import MPI
from perun_like import region
world = MPI.COMM_WORLD
with region("work"):
    time.sleep(1 + 0.05 * world.rank)
sys.stdout.write(f"{world.allreduce(world.rank)}\\n")
"""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Callable[[], Mapping[str, SimulatedPowercap]]]:
    """Serve each host's counters below ``trees``."""
    (tmp_path / "trees").mkdir()
    with ExitStack() as stack:

        def serve() -> Mapping[str, SimulatedPowercap]:
            try:
                served = {name: stack.enter_context(simulated_powercap(machine)) for name, machine in MACHINES.items()}
            except FuseUnavailableError as error:
                pytest.skip(f"the simulated powercap tree needs FUSE: {error}")
            for name, one in served.items():
                (tmp_path / "trees" / name).symlink_to(one.root)
            return served

        yield serve


@pytest.mark.parametrize("kind", KINDS)
def test_every_host_s_energy_is_its_own(
    mpirun: MpiRun,
    script: Script,
    tmp_path: Path,
    machines: Callable[[], Mapping[str, SimulatedPowercap]],
    kind: str,
) -> None:
    script(PROGRAM)
    served = machines()
    command = (PERUN, "profile", "--period", "10ms", "script.py")
    done = mpirun(kind, 6, *command, hosts=HOSTS, powercap=tmp_path / "trees")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["15"] * 6
    assert sum("exit code" in line for line in done.stderr.splitlines()) == 1
    result = only_result(tmp_path)
    assert result.ranks == list(range(6))
    assert result.regions == {("work", rank): 1 for rank in range(6)}
    assert sorted(result.hosts) == list(HOSTS)
    for name, node in result.hosts.items():
        window_ns = result.truth_ns(name)
        true_j = sum(served[name].truth_j(zone.path, *window_ns) for zone in MACHINES[name].zones)
        energy = node.metrics["cpu_energy_j"]
        assert energy.provenance is Provenance.MEASURED
        assert energy.lower <= true_j <= energy.upper
        assert energy.value == pytest.approx(true_j, rel=0.005)
        sensors = [sensor.id for sensor in node.find(NodeType.SENSOR)]
        assert len(sensors) == len(set(sensors))
        assert sum(sensor.startswith("rapl:") for sensor in sensors) == len(MACHINES[name].zones)
    whole = sum(node.metrics["cpu_energy_j"].value for node in result.hosts.values())
    assert result.metric("cpu_energy_j").value == pytest.approx(whole)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_programs_that_know_nothing_of_mpi_and_the_end_of_each_alone(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str
) -> None:
    """Rank 0 gives up waiting for other hosts; the last rank of all makes the result."""
    rank = "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"
    os.mkfifo(tmp_path / "gone")
    # The last host's program ends when rank 0's profiler has.
    program = f"test {rank} != 2 || cat gone"
    both = f'{PERUN} profile -- sh -c "$0" || exit; test {rank} != 0 || : > gone'
    command = ("sh", "-c", both, program)
    done = mpirun(kind, 3, *command, hosts={"a": 2, "b": 1})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nothing has come from rank 2 after 5 s") == 1
    assert sum("exit code" in line for line in done.stderr.splitlines()) == 1
    assert only_result(tmp_path).ranks == [0, 1, 2]
    assert_nothing_left(tmp_path)


def test_results_that_hosts_don_t_share_are_brought_together(
    mpirun: MpiRun, script: Script, tmp_path: Path, perun: Run
) -> None:
    """Each host has results of its own; rank 0 says what to do, and that works."""
    script(PROGRAM.replace("1 + 0.05", "0.01"))
    done = mpirun(
        "mpich", 2, "sh", "-c", f'exec {PERUN} profile --output "on-$(hostname)" script.py', hosts={"a": 1, "b": 1}
    )
    assert done.returncode == 0, done.stderr
    assert "isn't the same directory on all hosts" in done.stderr
    assert not results(tmp_path)
    (mine,), (other,) = tmp_path.glob("on-a/*.parts"), tmp_path.glob("on-b/*.parts")
    for part in other.glob("*.part"):
        part.rename(mine / part.name)
    recovered = perun("recover", str(mine))
    assert recovered.returncode == 0, recovered.stderr
    (path,) = tmp_path.glob("on-a/*/*.h5")
    assert recovered.stdout.strip() == str(path)
    assert not processes_in(tmp_path)
