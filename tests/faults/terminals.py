"""Terminals: interrupts from the keyboard, once and twice, and a window that is closed."""

from __future__ import annotations

import fcntl
import os
import pty
import termios
from collections.abc import Callable

from .fault import Fault
from .programs import program
from .trial import Trial


def terminal(trial: Trial) -> None:
    """Give the command a terminal of its own; what it prints still goes to files."""
    trial.terminal, theirs = pty.openpty()
    trial.stack.callback(close, trial)
    trial.stack.callback(os.close, theirs)
    trial.popen |= {"stdin": theirs, "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}


def of_shell(trial: Trial) -> None:
    """The terminal of a shell, which started the command and waits for it."""
    terminal(trial)
    trial.prefixed("sh", "-c", '"$@"; exit $?', "sh")


def close(trial: Trial) -> None:
    """Close the window."""
    if trial.terminal >= 0:
        os.close(trial.terminal)
    trial.terminal = -1


def interrupts(times: int) -> Callable[[Trial], None]:
    """Ctrl-C at a random moment, and again shortly after."""

    def strike(trial: Trial) -> None:
        trial.moment()
        for _ in range(times):
            os.write(trial.terminal, b"\x03")
            trial.pause(0.3)

    return strike


def closed(trial: Trial) -> None:
    """The window is closed at a random moment."""
    trial.moment()
    close(trial)


HANDLES = program(
    "work()\nassert interrupted == [2] * len(interrupted)\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n",
    "interrupted = []\nsignal.signal(signal.SIGINT, lambda number, frame: interrupted.append(number))\n",
)

FAULTS = [
    Fault("Ctrl-C", interrupts(1), setup=terminal),
    Fault("Ctrl-C twice", interrupts(2), setup=terminal),
    Fault("Ctrl-C, handled by the program", interrupts(2), HANDLES, setup=terminal),
    Fault("terminal closed", closed, setup=terminal),
    Fault("terminal of the shell closed", closed, setup=of_shell),
]
