"""Jobs of which a rank fails: they end as without us, and what was sampled until then is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import PERUN, Run

from mpi.conftest import HERE, KINDS, MpiRun, ended
from mpi.jobs import Result, assert_nothing_left, only_result, results

FATES = str(HERE / "fates.py")
TWO_HOSTS = {"a": 2, "b": 1}
BOTH = [None, TWO_HOSTS]


class Pair(NamedTuple):
    """A job without us and with us."""

    bare: subprocess.CompletedProcess[str]
    ours: subprocess.CompletedProcess[str]
    bare_s: float
    ours_s: float


Pairs = Callable[..., Pair]


@pytest.fixture
def pair(mpirun: MpiRun) -> Pairs:
    """Run fates without us and with us; they end with the same exit code, or a failure's, and hardly later."""

    def run(kind: str, *fate: str, hosts: dict[str, int] | None = None, n: int = 3, same: bool = True) -> Pair:
        program = ("-m", "mpi4py", FATES, *fate) if fate[0] == "mpi" else (FATES, *fate)
        times = [time.monotonic()]
        bare = mpirun(kind, n, sys.executable, *program, hosts=hosts, timeout=30)
        times.append(time.monotonic())
        ours = mpirun(kind, n, PERUN, "profile", "--name", "fates", *program, hosts=hosts, timeout=30)
        times.append(time.monotonic())
        pair = Pair(bare, ours, times[1] - times[0], times[2] - times[1])
        assert 0 not in (bare.returncode, ours.returncode), ours.stderr
        assert not same or bare.returncode == ours.returncode, ours.stderr
        assert pair.ours_s < pair.bare_s + 2
        return pair

    return run


def recovered(tmp_path: Path, perun: Run, errors: str = "") -> Result:
    """What one command makes of what a job has left; where to find that was told once, if anybody could."""
    assert not results(tmp_path)
    (parts,) = tmp_path.glob("perun_results/*.parts")
    assert not errors or errors.count(f"perun-like recover perun_results/{parts.name}") == 1
    done = perun("recover", str(parts))
    assert done.returncode == 0, done.stderr
    return only_result(tmp_path)


def check(result: Result, ranks: int = 3) -> None:
    """Samples of every host and regions of every rank."""
    assert result.ranks == list(range(ranks))
    assert result.regions == {("work", rank): 1 for rank in range(ranks)}
    for host in result.recording.hosts:
        assert host.streams
        sweeps = [len(stream.t0_ns) for stream in host.streams]
        assert min(sweeps) >= 1 + (host.cut is None)
        assert max(sweeps) > 1


def done_in(job: subprocess.CompletedProcess[str]) -> list[str]:
    """What ranks have said that came to their end."""
    return sorted(line for line in job.stdout.splitlines() if line.endswith("done"))


@pytest.mark.parametrize("fate", ["raise", "exit", "kill", "abort"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_fails_and_the_launcher_ends_the_others(
    pair: Pairs, perun: Run, tmp_path: Path, kind: str, fate: str
) -> None:
    _, ours, _, _ = pair(kind, "mpi", fate)
    assert "rank 1 done" not in ours.stdout  # what the others still say before they are ended is up to the launcher
    if fate == "raise":
        assert ours.stderr.count("Traceback (most recent call last)") == 1
        assert "RuntimeError: a fault of rank 1" in ours.stderr
    assert_nothing_left(tmp_path)
    check(recovered(tmp_path, perun, ours.stderr if fate == "kill" else ""))


@pytest.mark.parametrize(
    ("kind", "fate"),
    # A rank that exits without a word has MPICH's hydra wait for ever for those on other hosts, without us too.
    [(kind, fate) for kind in KINDS for fate in ("raise", "kill", "abort") if (kind, fate) != ("mpich", "raise")],
)
def test_the_same_on_several_hosts(pair: Pairs, perun: Run, tmp_path: Path, kind: str, fate: str) -> None:
    # Whether ranks or their launcher are the first to hear of a death is a race, and which of them gives the code: of
    # Open MPI also a rank of the other host that has found its socket closed.
    pair(kind, "mpi", fate, hosts=TWO_HOSTS, same=kind == "mpich" and fate != "kill")
    assert_nothing_left(tmp_path)
    result = recovered(tmp_path, perun)
    check(result)
    assert {process.rank: process.host for process in result.recording.processes} == {0: "a", 1: "a", 2: "b"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_profiler_that_is_killed_takes_its_rank_with_it(
    mpirun: MpiRun, perun: Run, tmp_path: Path, kind: str
) -> None:
    began = time.monotonic()
    done = mpirun(kind, 3, PERUN, "profile", "--name", "fates", FATES, "mpi", "kill profiler", timeout=30)
    assert done.returncode != 0
    assert time.monotonic() - began < 10
    assert_nothing_left(tmp_path)
    result = recovered(tmp_path, perun)
    check(result)
    unended = result.run.metadata["unended_ranks"]
    assert 1 in unended  # who ends the others, and whether they can still say so, is up to the launcher
    rank = result.run.ranks[1]
    assert [rank.metrics[name].value for name in ("cpu_s", "energy_share_j", "memory_peak_b")] == [None] * 3
    assert all(rank.metrics[name].reason for name in ("cpu_s", "energy_share_j", "memory_peak_b"))
    (file,) = tmp_path.glob("perun_results/*/*.h5")
    report = perun("report", str(file)).stdout
    assert f"! The recording of rank{'' if len(unended) == 1 else 's'} {', '.join(map(str, unended))} is" in report


@pytest.mark.parametrize(
    ("kind", "number"),  # hydra wants a second interrupt, without us too
    [("mpich", signal.SIGTERM), ("openmpi", signal.SIGTERM), ("openmpi", signal.SIGINT)],
)
def test_a_job_that_hangs_is_ended_by_its_launcher(
    mpirun: MpiRun, perun: Run, tmp_path: Path, kind: str, number: int
) -> None:
    times, codes = [], []
    for program in ((sys.executable, FATES), (PERUN, "profile", "--name", "fates", FATES)):
        os.mkfifo(tmp_path / "hanging")
        with mpirun.started(kind, 3, *program, "mpi", "hang") as job:
            (tmp_path / "hanging").read_text()
            began = time.monotonic()
            job.send_signal(number)
            ended(job, 30)
        times.append(time.monotonic() - began)
        codes.append(job.returncode)
        (tmp_path / "hanging").unlink()
    assert codes[0] == codes[1] != 0
    assert times[1] < times[0] + 2
    assert_nothing_left(tmp_path)
    check(recovered(tmp_path, perun))


@pytest.mark.parametrize(("failing", "fate"), [(0, "code"), (2, "code"), (1, "kill")])
@pytest.mark.parametrize("kind", KINDS)
def test_programs_that_know_nothing_of_mpi_and_one_fails(
    pair: Pairs, perun: Run, tmp_path: Path, kind: str, fate: str, failing: int
) -> None:
    """Where the launcher lets the others go on there is a result: rank 0's, or of the last rank if that has failed."""
    bare, ours, _, _ = pair(kind, "plain", fate, str(failing))
    assert_nothing_left(tmp_path)
    if (kind, fate) == ("mpich", "code"):
        assert done_in(ours) == done_in(bare)
        result = only_result(tmp_path)
        assert f"exit code 3 (rank {failing})" in ours.stderr
    else:  # the others may have ended before they were ended
        result = only_result(tmp_path) if results(tmp_path) else recovered(tmp_path, perun, ours.stderr)
    check(result)
    failed = {process.rank: (process.exit_code, process.signal) for process in result.recording.processes}[failing]
    assert failed == ((3, None) if fate == "code" else (None, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_on_several_hosts_a_plain_program_that_fails_leaves_those_of_other_hosts_alone_as_without_us(
    pair: Pairs, tmp_path: Path, kind: str
) -> None:
    bare, ours, _, _ = pair(kind, "plain", "code", "2", hosts=TWO_HOSTS)
    assert kind == "openmpi" or done_in(ours) == done_in(bare)
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sampler_that_is_killed_costs_what_comes_after(mpirun: MpiRun, tmp_path: Path, kind: str) -> None:
    done = mpirun(kind, 3, PERUN, "profile", "--name", "fates", "--period", "10ms", FATES, "plain", "kill sampler")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} done" for rank in range(3)]
    assert "the sampling process was killed" in " ".join(done.stderr.split())
    result = only_result(tmp_path)
    check(result)
    assert [host.cut for host in result.recording.hosts] == ["the sampling process was killed"]
    assert_nothing_left(tmp_path)
