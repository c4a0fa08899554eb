"""Processes that are killed, alone and together, while they start, work and end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import segments
from .fault import Fault
from .groups import limited
from .processes import send
from .programs import IN_PLACE, program
from .trial import OURS, Trial


def killing(*roles: str) -> Callable[[Trial], None]:
    """``kill -9`` of these at a random moment."""
    return lambda trial: trial.kill(*roles)


def group(trial: Trial) -> None:
    """``kill -9`` of the whole process group, as shells and launchers do."""
    trial.moment()
    os.killpg(trial.process.pid, signal.SIGKILL)


def while_starting(trial: Trial) -> None:
    """``kill -9`` of the profiler before, while or after it starts the program."""
    trial.kill("profiler", after=lambda: trial.moment(0.3))


def while_ending(trial: Trial) -> None:
    """``kill -9`` of the profiler while it saves the results."""
    trial.await_app()
    trial.kill("profiler", after=lambda: trial.pause(0.3))


def sampler_while_ending(trial: Trial) -> None:
    """``kill -9`` of the sampler while it completes its part."""

    def ends() -> None:
        trial.await_app()
        trial.pause(0.02)

    trial.kill("sampler", after=ends)


def time_limit(trial: Trial) -> None:
    """SIGTERM to all processes of a job and then SIGKILL, as Slurm does at the time limit."""
    pids = [pid for role in ("profiler", "app", "sampler") for pid in trial.pids(role)]
    trial.moment()
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            send(pid, number)
        trial.pause(0.2)


def little_memory(trial: Trial) -> None:
    """A memory cgroup for all processes, too small for what the program is about to take."""
    limited(trial, {"memory.limit_in_bytes": 160 << 20, "memory.max": 160 << 20})


def lost_host(trial: Trial) -> None:
    """A host that dies: its processes are gone, and its memory."""
    lose_host(trial, trial.moment)


def lost_host_later(least_s: float, most_s: float) -> Callable[[Trial], None]:
    """The same a random time after the program has begun: every 30 s samples are brought to the run's directory."""

    def moment(trial: Trial) -> None:
        if not trial.bare:
            time.sleep(least_s)
        trial.moment(most_s - least_s)

    return lambda trial: lose_host(trial, lambda: moment(trial))


def lose_host(trial: Trial, moment: Callable[[], None]) -> None:
    """Kill everything and remove what is in the host's memory."""
    trial.kill("sampler", "app", "profiler", after=moment)
    trial.remove(Path(OURS))
    segments.remove_all()


everything = killing("sampler", "app", "profiler")
IGNORES_SIGTERM = program(before="signal.signal(signal.SIGTERM, signal.SIG_IGN)")
TAKES_MEMORY = program("taken = []\nwhile True:\n    taken.append(b'x' * (4 << 20))\n    work(0.01)")
# Until the first 30 s are over nothing has to be there: of that fault all else is looked at.
LOST: dict[str, Any] = {"cuts": True, "most_lost_s": 30, "apart": True}

FAULTS = [
    Fault("kill -9 of the application", killing("app")),
    Fault("kill -9 of the sampler", killing("sampler"), cuts=True),
    Fault("kill -9 of the profiler", killing("profiler"), cuts=True),
    Fault("kill -9 of the profiler, then the sampler", killing("profiler", "sampler"), cuts=True),
    Fault("kill -9 of sampler and application", killing("sampler", "app"), cuts=True),
    Fault("kill -9 of all processes", everything, cuts=True),
    Fault("kill -9 of the process group", group, cuts=True),
    Fault(
        "kill -9 of the profiler while it starts", while_starting, at_start=True, cuts=True, codes=(-9,), output=False
    ),
    Fault("kill -9 of the profiler while it saves", while_ending, codes=(-9,)),
    Fault("kill -9 of the sampler while it ends", sampler_while_ending),
    Fault("time limit: SIGTERM, then SIGKILL", time_limit, cuts=True, codes=(-9,), length_s=(0.8, 1.2)),
    Fault("time limit, SIGTERM ignored", time_limit, IGNORES_SIGTERM, cuts=True, length_s=(0.8, 1.2)),
    Fault("out of memory", program=TAKES_MEMORY, setup=little_memory, length_s=(2, 2), apart=True),
    Fault("host lost within 30 s", lost_host, **LOST),
    Fault("host lost later", lost_host_later(31, 37), length_s=(40, 40), weight=0.1, **LOST),
    Fault("host lost at the worst moment", lost_host_later(56, 59.5), length_s=(62, 62), weight=0.25, **LOST),
    Fault("kill -9 of a program that measures itself", killing("app"), IN_PLACE, in_place=True, cuts=True),
    Fault("kill -9 of the sampler of such a program", killing("sampler"), IN_PLACE, in_place=True, cuts=True),
]
