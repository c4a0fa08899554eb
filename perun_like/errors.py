"""The errors people meet, one tree.

::

    PerunError                       exit code 1: something of ours went wrong
    ├── InputError                   exit code 2: what was asked for can't be done; the message says what is allowed
    │   ├── ConfigError              a key or value in a file, the environment or on the command line
    │   ├── ProgramNotFoundError     exit code 2: the script to profile doesn't exist
    │   └── CannotExecuteError       exit code 127 or 126, as of a shell: no such program, or not executable
    ├── InterruptedStartError        exit code 128 + signal: we were told to end before the program was started
    ├── SamplerError                 the sampling process couldn't start or has died
    ├── StillWrittenError            what was asked for is of a run that goes on, or somebody else is at it
    └── FileError                    a results file is damaged, truncated or not ours

Every message names what was wrong, what is allowed, and what to do.
"""

from __future__ import annotations

import errno
import os
import signal


class PerunError(Exception):
    """Any failure of perun_like itself. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class InputError(PerunError):
    """What was asked for can't be done."""

    exit_code = 2


class ConfigError(InputError):
    """An unknown key or a wrong value in a configuration file, ``PERUN_*`` or an option."""


class ProgramNotFoundError(InputError):
    """The script to profile doesn't exist."""


class CannotExecuteError(InputError):
    """There is no such program, or it may not be executed. ``number`` is the errno."""

    def __init__(self, program: str, number: int) -> None:
        super().__init__(f"can't execute {program}: {os.strerror(number)}{_remedy(program, number)}")
        self.number = number
        self.exit_code = 127 if number == errno.ENOENT else 126


def _remedy(program: str, number: int) -> str:
    if number == errno.ENOENT:
        return "" if os.sep in program else ": there is no such command in any directory of PATH"
    if number != errno.EACCES:
        return ""
    python = ", or leave out -- to have Python run it" if program.endswith(".py") else ""
    return f": make it executable by chmod +x{python}"


class InterruptedStartError(PerunError):
    """A signal arrived before the program was started: it isn't. ``signal`` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name} before the program was started")
        self.signal = number
        self.exit_code = 128 + number


class SamplerError(PerunError):
    """The sampling process couldn't start or has died."""


class StillWrittenError(PerunError):
    """Files that belong to a run that goes on, or that another process is just putting together."""


class FileError(PerunError):
    """A results file is damaged, truncated or wasn't written by perun_like."""
