"""Whole jobs on one host: one report, one file, each rank in it, and the program's own output as without us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PERUN

from mpi.conftest import KINDS, MpiRun
from mpi.jobs import assert_nothing_left, job_directories, only_result, results
from perun_like.testing import FuseUnavailableError, Machine, RandomWalk, Zone, simulated_powercap

Script = Callable[..., str]

MS = 1_000_000
# Ranks that are done at different times, each with regions of its own.
PROGRAM = """
import sys, time
from mpi4py import MPI
from perun_like import region
world = MPI.COMM_WORLD
for _ in range(world.rank + 1):
    with region("work"):
        time.sleep(0.02)
if world.rank % 2:
    with region("odd"):
        pass
total = world.allreduce(world.rank)
sys.stdout.write(f"rank {world.rank} of {world.size}: {total} {' '.join(sys.argv[1:])}\\n")
"""


def one_report(text: str) -> bool:
    return sum("exit code" in line for line in text.splitlines()) == 1


@pytest.mark.parametrize("n", [1, 2, 4, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_one_report_and_one_file(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str, n: int) -> None:
    script(PROGRAM)
    done = mpirun(kind, n, PERUN, "profile", "script.py", "--flag", "x")
    assert done.returncode == 0, done.stderr
    total = sum(range(n))
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} of {n}: {total} --flag x" for rank in range(n)]
    assert one_report(done.stderr)
    result = only_result(tmp_path)
    assert result.recording.size == n
    assert result.ranks == list(range(n))
    assert all(process.exit_code == 0 for process in result.recording.processes)
    calls = {("work", rank): rank + 1 for rank in range(n)} | {("odd", rank): 1 for rank in range(1, n, 2)}
    assert result.regions == calls
    assert str(result.path.relative_to(tmp_path)) in done.stderr
    assert_nothing_left(tmp_path)
    assert not job_directories(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_each_joule_is_counted_once(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str) -> None:
    script(PROGRAM)
    machine = Machine([Zone("intel-rapl:0", "package-0", RandomWalk(15, 230, 20 * MS, seed=4))])
    try:
        with simulated_powercap(machine) as powercap:
            done = mpirun(kind, 4, PERUN, "profile", "--period", "10ms", "script.py", env=powercap.environ)
            assert done.returncode == 0, done.stderr
            result = only_result(tmp_path)
            true_j = powercap.truth_j("intel-rapl:0", *result.truth_ns())
    except FuseUnavailableError as error:
        pytest.skip(f"the simulated powercap tree needs FUSE: {error}")
    energy = result.metric("cpu_energy_j")
    assert energy.lower <= true_j <= energy.upper
    assert energy.value == pytest.approx(true_j, rel=0.02)
    sensors = [sensor.id for host in result.recording.hosts for stream in host.streams for sensor in stream.sensors]
    assert len(sensors) == len(set(sensors))


@pytest.mark.parametrize("kind", KINDS)
def test_modules_and_programs_that_know_nothing_of_mpi(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str
) -> None:
    script(PROGRAM, "program.py")
    programs = {
        ("-m", "program"): 2,
        ("--", "/bin/true"): 7,
        ("--", "sh", "-c", "echo $((6 * 7)); exec 2>&1; echo oops >&2"): 4,
    }
    for number, (argv, n) in enumerate(programs.items()):
        plain = mpirun(kind, n, *(sys.executable, *argv) if argv[0] == "-m" else argv[1:])
        done = mpirun(kind, n, PERUN, "profile", "--output", str(number), *argv)
        assert done.returncode == plain.returncode == 0, done.stderr
        assert sorted(done.stdout.splitlines()) == sorted(plain.stdout.splitlines())
        assert one_report(done.stderr)
        (path,) = tmp_path.glob(f"{number}/*/*")
        assert path.name.endswith(".h5")
        assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_one_profile_after_the_other_in_one_launch(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str) -> None:
    """The same program, so that the runs can't be told apart by name; ranks come to the second one apart."""
    script("import os, time; time.sleep(0.05 * int(os.environ.get('PMI_RANK') or os.environ['OMPI_COMM_WORLD_RANK']))")
    done = mpirun(kind, 3, "sh", "-c", f"{PERUN} profile script.py; {PERUN} profile script.py")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*.parts"))
    both = results(tmp_path)
    assert [result.ranks for result in both] == [[0, 1, 2]] * 2
    pids = [process.pid for result in both for process in result.recording.processes]
    assert len(set(pids)) == 6
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_of_different_programs_are_one_job(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str) -> None:
    script(PROGRAM, "ocean.py")
    script(PROGRAM, "sky.py")
    second = (":", "-n", "2", PERUN, "profile", "sky.py", "b")
    done = mpirun(kind, 1, PERUN, "profile", "ocean.py", "a", *second)
    assert done.returncode == 0, done.stderr
    assert sorted(line[-1] for line in done.stdout.splitlines()) == ["a", "b", "b"]
    result = only_result(tmp_path)
    assert result.path.parent.name == result.tree.id == "ocean"
    assert result.run.metadata["command"][-2:] == ["ocean.py", "a"]
    assert result.ranks == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_id_and_what_is_taken(mpirun: MpiRun, script: Script, tmp_path: Path, kind: str) -> None:
    script(PROGRAM)
    command = (PERUN, "profile", "--run-id", "first", "--json", "out.json", "script.py")
    assert mpirun(kind, 2, *command).returncode == 0
    assert only_result(tmp_path).path.name == "first.h5"
    assert json.loads((tmp_path / "out.json").read_text())
    again = mpirun(kind, 3, *command)
    assert again.returncode != 0
    assert again.stdout == ""
    assert again.stderr.count("run id 'first' is taken") == 1
    assert only_result(tmp_path).ranks == [0, 1]


@pytest.mark.parametrize(
    ("options", "told", "program"),
    [
        (("--output", "/proc/results"), "can't write results to", "script.py"),
        (("--country", "ATLANTIS"), "ATLANTIS", "script.py"),
        ((), "no such file", "nothing.py"),
        (("--rounds", "2"), "MPI starts once", "script.py"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_all_ranks_refuse_and_one_says_so(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str, options: tuple[str, ...], told: str, program: str
) -> None:
    script(PROGRAM)
    done = mpirun(kind, 4, PERUN, "profile", *options, program)
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("perun-like: ") == 1
    assert told in done.stderr
    assert not results(tmp_path)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_can_t_be_started(mpirun: MpiRun, tmp_path: Path, kind: str) -> None:
    """It is found out when the sampler runs already."""
    (tmp_path / "broken").write_text("#!/nonexistent/interpreter\n")
    (tmp_path / "broken").chmod(0o755)
    done = mpirun(kind, 3, PERUN, "profile", "--", "./broken")
    assert done.returncode != 0
    assert done.stderr.count("perun-like: ") == 1
    assert_nothing_left(tmp_path)
    assert not list(tmp_path.rglob("*.part*"))


def together(
    n: int, command: list[str], cwd: Path, *environs: dict[str, str]
) -> list[subprocess.CompletedProcess[str]]:
    """Processes started at once by a launcher that nobody knows: each has its own variables."""
    base = {key: value for key, value in os.environ.items() if not key.startswith("PERUN_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen(command, cwd=cwd, env={**base, **one}, text=True, **pipes) for one in environs]  # type: ignore[call-overload]
    assert len(started) == n
    ended = [(process, *process.communicate(timeout=60)) for process in started]
    return [subprocess.CompletedProcess(command, process.returncode, *said) for process, *said in ended]


def test_an_unknown_launcher_s_ranks_have_a_profile_each(tmp_path: Path, script: Script) -> None:
    script("from perun_like import region\nwith region('x'): print('hello')")
    environs = [{"MV2_COMM_WORLD_RANK": str(rank), "MV2_COMM_WORLD_SIZE": "3"} for rank in range(3)]
    ended = together(3, [PERUN, "profile", "script.py"], tmp_path, *environs)
    for done in ended:
        assert done.returncode == 0
        assert done.stdout == "hello\n"
        assert "MVAPICH" in done.stderr
        assert "each rank gets a profile of its own" in done.stderr
        assert one_report(done.stderr)
    assert [result.regions for result in results(tmp_path)] == [{("x", 0): 1}] * 3


def test_variables_of_ours_make_one_job_of_them(tmp_path: Path, script: Script) -> None:
    script("from perun_like import region\nwith region('x'): print('hello')")
    environs = [{"PERUN_RANK": str(rank), "PERUN_SIZE": "3", "PERUN_JOB_ID": str(tmp_path)} for rank in range(3)]
    ended = together(3, [PERUN, "profile", "script.py"], tmp_path, *environs)
    assert [done.returncode for done in ended] == [0, 0, 0]
    assert sum(one_report(done.stderr) for done in ended) == 1
    assert only_result(tmp_path).regions == {("x", rank): 1 for rank in range(3)}
