"""Functions that measure themselves in programs with MPI: one result for all ranks, and MPI left as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run

from mpi.conftest import KINDS, MpiRun
from mpi.jobs import Result, assert_nothing_left, job_directories, only_result, results
from perun_like.model.node import NodeType
from perun_like.model.recording import RAISED, UNENDED
from perun_like.store.reader import read_recording
from perun_like.testing import FuseUnavailableError, Machine, RandomWalk, Zone, simulated_powercap

Script = Callable[..., str]

MS = 1_000_000
TWO_HOSTS = {"a": 2, "b": 1}
# Each rank calls the function as often as all others, but takes another time.
PROGRAM = """
import sys, time
from mpi4py import MPI
from perun_like import profile, region
world = MPI.COMM_WORLD
level = MPI.Query_thread()

@profile
def train(step):
    with region("forward"):
        time.sleep(0.02 * (world.rank + 1))
    return world.allreduce(step)

sums = [train(step) for step in range(3)]
assert MPI.Query_thread() == level
sys.stdout.write(f"rank {world.rank} {sums}\\n")
"""
# The same without a profiler: what MPI was initialised with is mpi4py's own business.
DEFAULTS = """
import sys
{0}
import mpi4py
import mpi4py.MPI as MPI
rc = mpi4py.rc
sys.stdout.write(f"{{MPI.Query_thread()}} {{[rc.initialize, rc.finalize, rc.threads, rc.thread_level]}}\\n")
"""


def check(result: Result, n: int) -> None:
    """Three rounds on each of so many ranks, and one region in each of them."""
    assert result.tree.id == "train"
    assert result.ranks == list(range(n))
    rounds = {one.rank: len(one.cpu_ns) for host in result.recording.hosts for one in host.rounds}
    assert rounds == dict.fromkeys(range(n), 3)
    regions = {
        (calls.names[0], calls.rank): len(calls.region) for host in result.recording.hosts for calls in host.regions
    }
    assert regions == {("forward", rank): 3 for rank in range(n)}


@pytest.mark.parametrize(("n", "hosts"), [(1, None), (2, None), (4, None), (3, TWO_HOSTS)])
@pytest.mark.parametrize("kind", KINDS)
def test_one_result_for_all_ranks(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str, n: int, hosts: dict[str, int] | None
) -> None:
    script(PROGRAM)
    done = mpirun(kind, n, sys.executable, "script.py", hosts=hosts)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} {[0, n, 2 * n]}" for rank in range(n)]
    assert done.stderr.count("train") >= 1
    assert done.stderr.count("perun_results/") == 1
    result = only_result(tmp_path)
    check(result, n)
    if hosts is not None:
        on = {process.rank: process.host for process in result.recording.processes}
        assert on == {0: "a", 1: "a", 2: "b"}
    assert_nothing_left(tmp_path)
    assert not job_directories(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_each_joule_is_counted_once(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str) -> None:
    script(PROGRAM.replace("@profile", "@profile(period='10ms')").replace("0.02 * (world.rank + 1)", "0.4"))
    machine = Machine([Zone("intel-rapl:0", "package-0", RandomWalk(15, 230, 20 * MS, seed=4))])
    try:
        with simulated_powercap(machine) as powercap:
            done = mpirun(kind, 2, sys.executable, "script.py", env=powercap.environ)
            assert done.returncode == 0, done.stderr
            result = only_result(tmp_path)
            rounds = [one for host in result.recording.hosts for one in host.rounds]
            for number, run in enumerate(result.tree.find(NodeType.RUN)):
                window_ns = min(r.start_ns[number] for r in rounds), max(r.stop_ns[number] for r in rounds)
                true_j = powercap.truth_j("intel-rapl:0", *map(int, window_ns))
                energy = run.metrics["cpu_energy_j"]
                assert energy.lower <= true_j <= energy.upper
                assert energy.value == pytest.approx(true_j, rel=0.03)
    except FuseUnavailableError as error:
        pytest.skip(f"the simulated powercap tree needs FUSE: {error}")


@pytest.mark.parametrize("hosts", [None, TWO_HOSTS], ids=["one host", "two hosts"])
@pytest.mark.parametrize("kind", KINDS)
def test_before_mpi_starts_and_after_it_has_ended(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str, hosts: dict[str, int] | None
) -> None:
    """Ranks open their session at different times: before MPI_Init, after it, and after MPI_Finalize."""
    script("""
import os, sys, time
from perun_like import profile
rank = int(os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"])

@profile
def train():
    time.sleep(0.03)

if rank == 0:
    train()
from mpi4py import MPI
if rank == 1:
    train()
MPI.COMM_WORLD.Barrier()
MPI.Finalize()
if rank == 2:
    train()
sys.stdout.write(f"{rank} done\\n")
""")
    done = mpirun(kind, 3, sys.executable, "script.py", hosts=hosts)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["0 done", "1 done", "2 done"]
    assert only_result(tmp_path).ranks == [0, 1, 2]
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_how_mpi_starts_is_not_our_business(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str) -> None:
    script(DEFAULTS.format(""), "bare.py")
    script(DEFAULTS.format("from perun_like import profile\nwith profile('x'): pass"), "ours.py")
    bare, ours = (mpirun(kind, 2, sys.executable, name) for name in ("bare.py", "ours.py"))
    assert bare.returncode == ours.returncode == 0, ours.stderr
    assert ours.stdout == bare.stdout
    of_never = DEFAULTS.format("from perun_like import profile").replace("Query_thread", "Is_initialized")
    script(f"import mpi4py\nmpi4py.rc.initialize = False\n{of_never}with profile('x'): pass\n", "never.py")
    never = mpirun(kind, 2, sys.executable, "never.py")
    assert never.returncode == 0, never.stderr
    assert {line.split()[0] for line in never.stdout.splitlines()} == {"False"}


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_that_come_to_functions_in_different_orders(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str
) -> None:
    """Settings of their own make two sessions; each is one result, whichever a rank begins with."""
    script("""
from mpi4py import MPI
from perun_like import profile
rank = MPI.COMM_WORLD.rank

@profile(period="20ms")
def fine(): pass

@profile(period="200ms")
def coarse(): pass

for function in (fine, coarse) if rank % 2 else (coarse, fine):
    function()
""")
    done = mpirun(kind, 3, sys.executable, "script.py")
    assert done.returncode == 0, done.stderr
    assert {result.tree.id: result.ranks for result in results(tmp_path)} == {"fine": [0, 1, 2], "coarse": [0, 1, 2]}
    assert not list(tmp_path.rglob("*.parts"))
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_s_result_is_known_on_every_rank_at_once(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str
) -> None:
    script("""
import sys, time
from mpi4py import MPI
from perun_like import profile
rank = MPI.COMM_WORLD.rank
with profile("block", period="10ms") as block:
    time.sleep(0.1 * (rank + 1))
sys.stdout.write(f"{rank} {block.runtime_s:.1f} {block.energy_j > 0}\\n")
""")
    done = mpirun(kind, 3, sys.executable, "script.py", timeout=30)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["0 0.1 True", "1 0.2 True", "2 0.3 True"]


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_waits_in_the_way_of_messages_that_are_still_to_be_sent(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str
) -> None:
    """Rank 0 has ended its program, but rank 1 can't receive before rank 0 is in MPI_Finalize."""
    script("""
import sys
from mpi4py import MPI
from perun_like import profile
world = MPI.COMM_WORLD
with profile("x"):
    pass
much = MPI.Alloc_mem(1 << 25)
if world.rank == 0:
    world.Isend(much, 1, tag=7).Free()
    world.send(None, 1, tag=1)
else:
    world.recv(source=0, tag=1)
    world.Recv(much, 0, tag=7)
sys.stdout.write("done\\n")
""")
    done = mpirun(kind, 2, sys.executable, "script.py", timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n" * 2
    assert only_result(tmp_path).ranks == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_watched_job_functions_are_regions(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str) -> None:
    from conftest import PERUN

    script(PROGRAM)
    done = mpirun(kind, 2, PERUN, "profile", "script.py")
    assert done.returncode == 0, done.stderr
    result = only_result(tmp_path)
    assert result.tree.id == "script"
    assert result.regions == {(name, rank): 3 for name in ("train", "forward") for rank in range(2)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_that_raises_ends_the_job_and_loses_nothing(
    mpirun: MpiRun, script: Script, perun: Run, tmp_path: Path, kind: str
) -> None:
    script(
        "from mpi4py import MPI\nfrom perun_like import profile\nworld = MPI.COMM_WORLD\n"
        "@profile\ndef train(n):\n"
        "    total = sum(range(n))\n"
        "    if n == 3 and world.rank == 1: raise ValueError('for a reason')\n"
        "    world.Barrier()\n    return total\n"
        "for n in (1, 2, 3): train(n)\n"
    )
    done = mpirun(kind, 2, sys.executable, "-m", "mpi4py", "script.py")
    assert done.returncode != 0
    assert "ValueError: for a reason" in done.stderr
    assert_nothing_left(tmp_path)
    for parts in tmp_path.rglob("*.parts"):
        while "still being written" in (ended := perun("recover", str(parts))).stderr:
            pass
        assert ended.returncode == 0, ended.stderr
    (path,) = tmp_path.glob("perun_results/train/*.h5")
    recording = read_recording(str(path))
    found = {each.rank: each.failed.tolist() for host in recording.hosts for each in host.rounds}
    assert found == {0: [0, 0, UNENDED], 1: [0, 0, RAISED]}  # rank 0 was waiting when its launcher ended it
    assert recording.hosts[0].streams
