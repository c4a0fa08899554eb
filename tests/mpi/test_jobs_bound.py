"""Ranks that are bound to some CPUs: their sampler keeps out of their way if there are others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PERUN

from mpi.conftest import KINDS, MpiRun
from mpi.jobs import only_result

Script = Callable[..., str]

# Waits until all threads of the sampler have left the CPUs that it is bound to itself, and says where they are.
PROGRAM = """
import os, sys, time
here = os.getcwd()
def samplers():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if "sampling.serve" in open(f"/proc/{pid}/cmdline").read() and os.readlink(f"/proc/{pid}/cwd") == here:
                yield pid
        except OSError:
            pass
mine, until = os.sched_getaffinity(0), time.monotonic() + 20
while time.monotonic() < until:
    threads = [(pid, tid) for pid in samplers() for tid in os.listdir(f"/proc/{pid}/task")]
    theirs = [os.sched_getaffinity(int(tid)) for _, tid in threads]
    if theirs and not any(cpus & mine for cpus in theirs):
        break
    time.sleep(0.05)
sys.stdout.write(f"{sorted(mine)} {sorted(set().union(*theirs))} {len({pid for pid, _ in threads})}\\n")
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is no CPU to keep out of the way on")
@pytest.mark.parametrize("kind", KINDS)
def test_the_sampler_leaves_the_cpus_that_ranks_are_bound_to(
    mpirun: MpiRun, script: Script, tmp_path: Path, kind: str
) -> None:
    script(PROGRAM)
    done = mpirun(kind, 2, "taskset", "-c", "0", PERUN, "profile", "script.py")
    assert done.returncode == 0, done.stderr
    others = sorted(set(range(os.cpu_count() or 1)) - {0})
    assert done.stdout.splitlines() == [f"[0] {others} 1"] * 2
    assert only_result(tmp_path).ranks == [0, 1]
