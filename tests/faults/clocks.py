"""Clocks that are set while a program runs, and a machine that sleeps meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from perun_like.model.node import DataNode, NodeType
from perun_like.model.recording import Recording

from .checks import MEASURED_J
from .fault import Fault
from .preload import preload
from .trial import Trial

_ASLEEP = "time asleep"
_NOTED_S = 1.2  # a sampler looks at the clocks once a second
_BY_S = (-400 * 86400, -3600, -2, -0.05, 0.05, 2, 3600, 400 * 86400)


def stepping(clock: int, *by_s: float, killed: str = "", after_s: float = 0.0) -> Callable[[Trial], None]:
    """A clock is set to another time at a random moment, and a process killed some time after that, perhaps."""

    def strike(trial: Trial) -> None:
        trial.moment(0.5 if after_s else None)
        new = trial.directory / "step.new"
        new.write_text(f"{clock} {int(trial.random.choice(by_s) * 1e9)}")
        new.rename(_step(trial))
        if killed:
            time.sleep(after_s)
            trial.kill(killed, after=lambda: trial.moment(0.2))

    return strike


def settable(trial: Trial) -> None:
    """Clocks can be set for the trial's processes alone."""
    preload(trial, FAULT_STEP=str(_step(trial)))


def _step(trial: Trial) -> Path:
    return trial.directory / "step"


def asleep(tree: DataNode, recording: Recording) -> Iterator[str]:
    """Nobody knows what was used while the machine slept: that it is lacking has to be said."""
    for run in tree.find(NodeType.RUN):
        if _ASLEEP not in run.metrics[MEASURED_J].missing:
            yield f"nothing is said to be missing of the time asleep: {run.metrics[MEASURED_J]}"


def awake(tree: DataNode, recording: Recording) -> Iterator[str]:
    """A clock that is set is no sleep."""
    for run in tree.find(NodeType.RUN):
        if _ASLEEP in run.metrics[MEASURED_J].missing:
            yield f"it is said to have slept: {run.metrics[MEASURED_J]}"


FAULTS = [
    Fault("clock set", stepping(time.CLOCK_REALTIME, *_BY_S), setup=settable, look=awake),
    Fault(
        "clock set, then the sampler killed",
        stepping(time.CLOCK_REALTIME, *_BY_S, killed="sampler"),
        setup=settable,
        look=awake,
        cuts=True,
    ),
    Fault("machine suspended", stepping(time.CLOCK_BOOTTIME, 10, 3600), setup=settable, look=asleep),
    Fault(
        "machine suspended, the sampler killed soon",
        stepping(time.CLOCK_BOOTTIME, 10, 3600, killed="sampler", after_s=_NOTED_S),
        setup=settable,
        look=asleep,
        length_s=(2.6, 3.0),
        cuts=True,
    ),
]
