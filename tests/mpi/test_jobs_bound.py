"""Ranks that are bound to CPUs: the sampler keeps out of their way where it can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import PERUN

from mpi.conftest import MpiRun
from mpi.jobs import only_result

# While it runs, where the profiler's sampler may run: the only process here that is an isolated interpreter.
PROGRAM = """
import os, sys, time
def allowed():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == os.getcwd():
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if b"perun_like.sampling.serve" in file.read():
                        return [sorted(os.sched_getaffinity(int(task))) for task in os.listdir(f"/proc/{pid}/task")]
        except OSError:
            pass
until = time.monotonic() + 5
while (now := allowed()) != [[int(sys.argv[1])]] * len(now) and time.monotonic() < until:
    time.sleep(0.05)
sys.stdout.write(f"{sorted(os.sched_getaffinity(0))} {now[0]}\\n")
"""


@pytest.mark.skipif((os.cpu_count() or 1) != 2, reason="where ranks and sampler go is known for two CPUs")
@pytest.mark.parametrize(
    ("kind", "n", "options", "bound"),
    [
        ("mpich", 1, ("-bind-to", "user:0"), ()),
        ("mpich", 3, ("-bind-to", "user:0,0,0"), ()),
        ("openmpi", 1, ("--bind-to", "core"), ()),
        ("openmpi", 2, (), ("taskset", "-c", "0")),
    ],
)
def test_the_sampler_leaves_bound_ranks_their_core(
    mpirun: MpiRun, tmp_path: Path, kind: str, n: int, options: tuple[str, ...], bound: tuple[str, ...]
) -> None:
    (tmp_path / "script.py").write_text(PROGRAM)
    done = mpirun(kind, n, *bound, PERUN, "profile", "script.py", "1", options=options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[0] [1]"] * n
    assert only_result(tmp_path).ranks == list(range(n))


@pytest.mark.parametrize("kind", ["mpich", "openmpi"])
def test_where_nothing_is_free_it_runs_all_the_same(mpirun: MpiRun, tmp_path: Path, kind: str) -> None:
    n = os.cpu_count() or 1
    options = ("-bind-to", "core") if kind == "mpich" else ("--bind-to", "core")
    done = mpirun(kind, n, PERUN, "profile", "--", "sleep", "0.2", options=options)
    assert done.returncode == 0, done.stderr
    assert only_result(tmp_path).ranks == list(range(n))
