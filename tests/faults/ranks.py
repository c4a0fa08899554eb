"""Jobs of several ranks, of which something dies."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .fault import Fault, Unavailable
from .processes import send
from .storage import moved, removed
from .trial import Trial

RANKS = 3


def job(trial: Trial) -> None:
    """The command is that of each rank of a job."""
    mpirun = Path(sys.executable).with_name("mpirun")
    if not mpirun.exists():
        raise Unavailable("MPICH isn't installed beside this Python: pip install mpich")
    trial.prefixed(str(mpirun), "-n", str(RANKS))


def killing_one(role: str) -> Callable[[Trial], None]:
    """``kill -9`` of one of the processes of a role."""

    def strike(trial: Trial) -> None:
        pids = trial.pids("app" if trial.bare else role)
        trial.moment()
        if not (trial.bare and role == "sampler"):
            send(trial.random.choice(pids), signal.SIGKILL)
            trial.struck_ns = time.monotonic_ns()

    return strike


def time_limit(trial: Trial) -> None:
    """SIGTERM to all processes of a job but its launcher and then SIGKILL, as Slurm does at the time limit."""
    pids = [pid for role in ("profiler", "app", "sampler") for pid in trial.pids(role)]
    trial.moment()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            send(pid, number)
        trial.pause(0.2)


def launcher_killed(trial: Trial) -> None:
    """``kill -9`` of all processes of a job at once."""
    trial.kill("sampler", "profiler", "app", "launcher")


SOME = {"setup": job, "ranks": RANKS, "length_s": (0.5, 1.2), "output": False}
FAULTS = [
    Fault("job: nothing happens", **SOME),
    Fault("job: output directory removed", removed, apart=True, **SOME),
    Fault("job: output directory moved away", moved, apart=True, **SOME),
    Fault("job: kill -9 of a rank", killing_one("app"), cuts=True, **SOME),
    Fault("job: kill -9 of a profiler", killing_one("profiler"), cuts=True, **SOME),
    Fault("job: kill -9 of the host's sampler", killing_one("sampler"), cuts=True, **SOME),
    # Which rank the launcher sees end first, and of what, is a race.
    Fault("job: time limit, SIGTERM, then SIGKILL", time_limit, cuts=True, codes=(9, 15), **SOME),
    # The launcher is the last to be killed, and may have seen the ranks end.
    Fault("job: kill -9 of everything", launcher_killed, cuts=True, codes=(9, -9), **SOME),
]
