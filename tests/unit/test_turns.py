"""The runs of one launch, counted and closed by real processes at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perun_like.launch.claim import Roll, job_directory
from perun_like.launch.turns import close_run, door, first_to_say, set_aside, sweep


@pytest.fixture
def job(tmp_path: Path) -> str:
    return job_directory(str(tmp_path), "host", "id")


def runs_of(job: str, rank: int, launch: str = "launch") -> int:
    with door(job) as inside:
        return inside.next_run(rank, launch)


def test_each_rank_counts_its_own_runs(job: str) -> None:
    assert [runs_of(job, rank) for rank in (0, 0, 1, 0, 700, 1)] == [0, 1, 0, 2, 0, 1]


def test_an_earlier_launch_of_the_same_id_doesn_t_count(job: str) -> None:
    """A job was killed after two runs of rank 0; mpirun then has the same pid in a container made anew."""
    assert [runs_of(job, 0, "first") for _ in range(2)] == [0, 1]
    assert [runs_of(job, rank, "second") for rank in (0, 1, 0, 1)] == [0, 0, 1, 1]


def in_parallel(code: str, *args: str, processes: int = 8) -> list[str]:
    """What as many processes print that do the same at once."""
    command = [sys.executable, "-c", f"import sys\nfrom perun_like.launch.turns import *\n{code}", *args]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [process.communicate(timeout=30)[0].strip() for process in started]


def test_behind_the_door_one_is_alone(job: str) -> None:
    code = "for _ in range(50):\n  with door(sys.argv[1]) as inside: print(inside.next_run(3, ''))"
    numbers = [int(word) for text in in_parallel(code, job) for word in text.split()]
    assert sorted(numbers) == list(range(400))


def test_what_all_say_is_said_once_a_turn(job: str) -> None:
    """Each rank says the same twice, as a script does that starts two programs that aren't there."""
    code = "print([first_to_say(sys.argv[1], int(r), '', 'no such file') for r in sys.argv[2:]])"
    said = in_parallel(code, job, "0", "0", "1", "1", "2", "2", processes=1)[0]
    assert said == "[True, True, False, False, False, False]"
    assert first_to_say(job, 2, "", "something else")


def test_one_of_many_at_once_says_it(job: str) -> None:
    code = "import os; print(first_to_say(sys.argv[1], os.getpid() % 997, '', 'no such file'))"
    assert sorted(in_parallel(code, job)) == ["False"] * 7 + ["True"]


def test_a_closed_run_is_not_entered_again(job: str) -> None:
    with door(job) as inside:
        first = inside.run_directory(0)
        assert inside.run_directory(0) == first
        assert inside.run_directory(1) != first
    assert close_run(first, lambda: False)
    with door(job) as inside:
        second = inside.run_directory(0)
        assert second != first
        assert inside.run_directory(0) == second
    aside = set_aside(first)
    assert not os.path.exists(first)
    assert os.path.isdir(aside)
    with door(job) as inside:
        assert inside.run_directory(0) == first  # of which nothing is left


def test_a_run_with_ranks_is_not_closed(job: str) -> None:
    with door(job) as inside:
        run = inside.run_directory(0)
    rank = Roll(run)
    rank.enter(0)
    assert not close_run(run, lambda: bool(Roll(run).ranks_alive()))
    rank.leave()
    assert close_run(run, lambda: bool(Roll(run).ranks_alive()))


def test_only_old_jobs_without_runs_are_swept(tmp_path: Path) -> None:
    old = time.time() - 2 * 24 * 3600
    jobs = {name: job_directory(str(tmp_path), "host", name) for name in ("young", "empty", "running", "strange")}
    for path in jobs.values():
        runs_of(path, 0)
        first_to_say(path, 0, "", "text")
    with door(jobs["running"]) as inside:
        inside.run_directory(0)
    (tmp_path / "0123abcd").mkdir()
    os.unlink(os.path.join(jobs["strange"], "runs"))
    for name in ("empty", "running"):
        os.utime(os.path.join(jobs[name], "runs"), (old, old))
    sweep(str(tmp_path))
    assert {name for name, path in jobs.items() if os.path.exists(path)} == {"young", "running", "strange"}
    assert (tmp_path / "0123abcd").exists()
