"""What a fault is: a name, a program that it befalls, how it strikes, and what is expected of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from perun_like.model.node import DataNode
from perun_like.model.recording import Recording
from perun_like.testing import Machine

from .programs import STEADY

if TYPE_CHECKING:
    from .trial import Trial

ENDS_S = 5.0  # how much longer than its program a command may last
# Twenty sweeps. Of 1,240 tries on two busy cores the sampler was kept waiting for 0.09 s in the worst. It has to be
# short beside the programs' time: who loses all samples must be seen in about every second try.
MOST_LOST_S = 0.2


class Unavailable(Exception):  # noqa: N818 - not an error: a fault that can't be had on this machine
    """A fault can't be made here, for a reason."""


class Harmful(Exception):  # noqa: N818 - not an error of a trial: the campaign itself must not go on with it
    """A fault would befall what is somebody's."""


def harmless(so: bool, otherwise: str) -> None:
    """Go on only if that is so. (An ``assert`` would be gone where Python optimises.)

    Raises:
        Harmful: it isn't, and what would happen.
    """
    if not so:
        raise Harmful(otherwise)


class Fate(NamedTuple):
    """How a command ended, and what it printed."""

    code: int | None
    output: str


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: What it is.
        strike: What happens, once the program has begun (or ``at_start``); it chooses the moment.
        program: The source of the application.
        setup: What is different about the surroundings.
        machine: Counters of its own, which fail; without it those of all trials.
        look: What else must not be in a result; called with its tree and recording.
        options: Of ``perun-like profile``.
        cuts: Whether sampling ends with it: samples are to reach up to the strike, not to the program's end.
        most_lost_s: How much may be lacking at the end.
        most_gap_s: How long nothing may have been read at most, between the start and the last sample.
        ranks: How many processes begin.
        length_s: How long the program works: a random time between these.
        at_start: Whether it may strike before the program has begun.
        in_place: Whether the program measures itself.
        samples: Whether there must be samples, if the application was started.
        codes: Exit codes of the command that are right beside that of a run without us: of a fault that strikes the
            command itself after its program has ended, say.
        output: Whether what is printed has to be the same as without us.
        truth: Whether the truth has to lie within the bounds.
        apart: Whether it would harm this machine if it could: it is tried only where nothing can be written.
        weight: How often it is tried, relative to others.
        ends_s: How much longer than its program the command may last.
    """

    name: str
    strike: Callable[[Trial], None] = lambda trial: None
    program: str = STEADY
    setup: Callable[[Trial], None] = lambda trial: None
    machine: Callable[[Random], Machine] | None = None
    look: Callable[[DataNode, Recording], Iterable[str]] = lambda tree, recording: ()
    options: tuple[str, ...] = ()
    cuts: bool = False
    most_lost_s: float = MOST_LOST_S
    most_gap_s: float = MOST_LOST_S
    ranks: int = 1
    length_s: tuple[float, float] = (0.2, 1.0)
    at_start: bool = False
    in_place: bool = False
    samples: bool = True
    codes: tuple[int, ...] = ()
    output: bool = True
    truth: bool = True
    apart: bool = False
    weight: float = 1.0
    ends_s: float = ENDS_S
