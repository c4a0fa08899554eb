"""One try of one fault, with a run without us before the first."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from perun_like.testing import FuseUnavailableError, SimulatedPowercap, simulated_powercap

from . import processes, segments
from .checks import Outcome, examine, host_local
from .fault import Fate, Fault, Unavailable
from .trial import Trial

_NOT_OURS = ("PERUN_", "VIRTUAL_ENV", "CONDA_PREFIX", "PMI", "MPI_", "OMPI_", "SLURM_", "FAULT")


@dataclass
class Surroundings:
    """What trials of one worker have in common.

    Attributes:
        powercap: The counters that they see; None if there can be none.
        apart: Whether nothing of this machine can be written.
        reason: Why not.
        fates: How programs end without us, by fault.
    """

    powercap: SimulatedPowercap | None = None
    apart: bool = False
    reason: str = ""
    fates: dict[str, Fate] = field(default_factory=dict)


def attempt(fault: Fault, seed: int, around: Surroundings, token: str = "") -> Outcome:
    """Try a fault once.

    Args:
        fault: What.
        seed: Of all random choices.
        around: The surroundings.
        token: By which its processes are found; a new one by default.
    """
    outcome = Outcome(fault.name, seed)
    try:
        _try(fault, seed, around, token, outcome)
    except Unavailable as error:
        outcome.unavailable = str(error)
    except Exception:  # noqa: BLE001 - one bad try must not end the campaign; it is told as what it is
        outcome.failed = traceback.format_exc()
    return outcome


def _try(fault: Fault, seed: int, around: Surroundings, token: str, outcome: Outcome) -> None:
    if fault.apart and not around.apart:
        raise Unavailable(around.reason or "it can be tried only apart from the machine")
    if fault.name not in around.fates:
        with trial_of(fault, seed, around, token, bare=True) as trial:
            around.fates[fault.name] = trial.run()
    with trial_of(fault, seed, around, token) as trial:
        examine(trial, trial.run(), around.fates[fault.name], outcome)


@contextmanager
def trial_of(fault: Fault, seed: int, around: Surroundings, token: str = "", *, bare: bool = False) -> Iterator[Trial]:
    """A trial in a new directory, which is removed with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="perun-fault-") as name, ExitStack() as stack:
        directory = Path(name).resolve()
        (directory / "tmp").mkdir()
        choices = random.Random(seed)
        powercap = _powercap(fault, choices, stack) or around.powercap
        environ = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_OURS)}
        environ |= {processes.TOKEN: token or os.urandom(8).hex(), "TMPDIR": str(directory / "tmp")}
        environ |= {"PERUN_OUTPUT": str(directory / "results")}
        environ |= powercap.environ if powercap is not None else {}
        trial = Trial(fault, directory, choices, environ, powercap, around.apart, bare, stack=stack)
        try:
            fault.setup(trial)
            yield trial
        finally:
            processes.kill_all(trial.token)
            for left in host_local(trial):
                shutil.rmtree(left, ignore_errors=True)
            if around.apart:
                segments.remove_all()


def _powercap(fault: Fault, choices: random.Random, stack: ExitStack) -> SimulatedPowercap | None:
    """Counters of a fault's own."""
    if fault.machine is None:
        return None
    try:
        return stack.enter_context(simulated_powercap(fault.machine(choices)))
    except FuseUnavailableError as error:
        raise Unavailable(str(error)) from error
