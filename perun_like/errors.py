"""The errors people meet, one tree.

::

    PerunError                 exit code 1: something of ours went wrong
    ├── InputError             exit code 2: what was asked for can't be done; the message says what is allowed
    │   ├── ConfigError        a key or value in a file, the environment or on the command line
    │   └── ProgramNotFound    the script, module or executable to profile doesn't exist
    ├── SamplerError           the sampling process couldn't start or has died
    └── FileError              a results file is damaged, truncated or not ours

Every message names what was wrong, what is allowed, and what to do.
"""

from __future__ import annotations


class PerunError(Exception):
    """Any failure of perun_like itself. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class InputError(PerunError):
    """What was asked for can't be done."""

    exit_code = 2


class ConfigError(InputError):
    """An unknown key or a wrong value in a configuration file, ``PERUN_*`` or an option."""


class ProgramNotFound(InputError):
    """The script, module or executable to profile doesn't exist."""


class SamplerError(PerunError):
    """The sampling process couldn't start or has died."""


class FileError(PerunError):
    """A results file is damaged, truncated or wasn't written by perun_like."""
