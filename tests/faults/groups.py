"""Control groups with limits, of either version, below those that a worker was given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .fault import Unavailable
from .isolation import groups
from .trial import Trial

_ROOT = Path("/sys/fs/cgroup")
_ENABLE = "cgroup.subtree_control"


def make_groups(name: str) -> list[str]:
    """Make a group for a worker in each hierarchy that we may make one in; their paths."""
    made = []
    for parent in (_ROOT / "memory", _ROOT / "pids", _ROOT):
        with suppress(OSError):
            if (parent / "cgroup.procs").exists():
                (parent / name).mkdir()
                made.append(str(parent / name))
                (parent / name / _ENABLE).write_text("+memory +pids")  # of version 2 only
    return made


def remove_groups(paths: list[str]) -> None:
    """Remove them, and what their workers have left in them; no process lives there any more."""
    for path in paths:
        for directory, _, _ in os.walk(path, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)


def limited(trial: Trial, limits: Mapping[str, int]) -> None:
    """Have the command, with all that it starts, in a group with a limit.

    Args:
        trial: The trial.
        limits: By the names that both versions have for one limit.

    Raises:
        Unavailable: there is no group in which it can be set.
    """
    for parent in map(Path, groups()):
        group = parent / f"fault-{trial.token}"
        with suppress(OSError):
            group.mkdir()
            trial.stack.callback(group.rmdir)
            (name,) = [name for name in limits if (group / name).exists()] or [""]
            if name:
                (group / name).write_text(str(limits[name]))
                trial.in_shell(f"echo $$ >{group}/cgroup.procs")
                return
    raise Unavailable(f"no control group with {' or '.join(limits)} can be made here")
