"""Processes that are stopped and go on, or don't."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from .fault import MOST_LOST_S, Fault
from .processes import send
from .trial import Trial

_MOST_S, _LONGEST_S = 0.5, 1.0


def stopped(*roles: str) -> Callable[[Trial], None]:
    """SIGSTOP of these at a random moment, and SIGCONT up to half a second later."""

    def strike(trial: Trial) -> None:
        pids = [pid for role in roles for pid in trial.pids(role)]
        trial.kill(*roles, number=signal.SIGSTOP)
        trial.pause(_MOST_S)
        for pid in pids:
            send(pid, signal.SIGCONT)

    return strike


def group_stopped(trial: Trial) -> None:
    """SIGSTOP and SIGCONT of the whole process group, as shells do."""
    trial.moment()
    os.killpg(trial.process.pid, signal.SIGSTOP)
    trial.pause(_MOST_S)
    os.killpg(trial.process.pid, signal.SIGCONT)


def profiler_until_end(trial: Trial) -> None:
    """The profiler is stopped until after its program's end."""
    pids = trial.pids("profiler")
    trial.kill("profiler", number=signal.SIGSTOP)
    if not trial.bare:
        trial.await_app()
        trial.pause(0.2)
    for pid in pids:
        send(pid, signal.SIGCONT)


FAULTS = [
    Fault("application stopped and continued", stopped("app")),
    Fault("sampler stopped and continued", stopped("sampler"), most_gap_s=_MOST_S + MOST_LOST_S),
    Fault("profiler stopped and continued", stopped("profiler")),
    Fault("profiler stopped until the program has ended", profiler_until_end),
    Fault("process group stopped and continued", group_stopped),
    # The profiler has it go on when the program has ended.
    Fault(
        "sampler stopped for ever",
        lambda trial: trial.kill("sampler", number=signal.SIGSTOP),
        length_s=(0.2, _LONGEST_S),
        most_gap_s=_LONGEST_S + MOST_LOST_S,
        cuts=True,
    ),
]
