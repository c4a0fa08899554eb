"""What makes a file of what is left is killed itself, again and again."""

from __future__ import annotations

import signal
import subprocess

from .fault import Fault
from .kills import everything
from .programs import IN_PLACE
from .trial import PERUN, Trial

_TIMES = 3
_TAKES_S = 0.6  # some of the moments are after its end


def interrupted(trial: Trial) -> None:
    """Kill everything; later, ``recover`` is killed at random moments before it is left in peace."""
    everything(trial)
    trial.afterwards.append(lambda: kill_recoveries(trial))


def kill_recoveries(trial: Trial) -> None:
    """Begin to recover and be killed."""
    for _ in range(_TIMES):
        for parts in trial.directory.rglob("*.parts"):
            command = [PERUN, "recover", str(parts)]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen(command, cwd=trial.directory, env=trial.environ, **quiet)
            trial.pause(_TAKES_S)
            process.send_signal(signal.SIGKILL)
            process.wait()


FAULTS = [
    Fault("recover killed", interrupted, cuts=True),
    Fault("recover killed, after a program that measures itself", interrupted, IN_PLACE, in_place=True, cuts=True),
]
