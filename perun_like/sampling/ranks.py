"""The ranks of a job that share a host and its sampler, by what each has noted in the directory they share.

``<local>/<rank>/note`` is a JSON object: ``process``, what is known of the rank's first process; ``cpus``, those it may
run on; ``environ``, the variables by which backends tell what it can see; ``functions``, places of functions that it
measures in place. ``<local>/ready`` is there once everything has been read for a first time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

_NOTE, _READY = "note", "ready"
VISIBILITY = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES")


def write_note(directory: str, note: Mapping[str, Any]) -> None:
    """Note something for the sampler, in place of what was noted before.

    Raises:
        OSError: it can't be written.
    """
    path = os.path.join(directory, _NOTE)
    with open(path + ".new", "w") as file:
        json.dump(note, file)
    os.rename(path + ".new", path)


def read_notes(local: str) -> dict[int, dict[str, Any]]:
    """What each rank has noted."""
    notes: dict[int, dict[str, Any]] = {}
    for name in os.listdir(local):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(os.path.join(local, name, _NOTE)) as file:
                notes[int(name)] = json.load(file)
    return dict(sorted(notes.items()))


def say_ready(local: str) -> None:
    """Tell the ranks that wait that everything has been read once."""
    os.close(os.open(os.path.join(local, _READY), os.O_WRONLY | os.O_CREAT, 0o600))


def is_ready(local: str) -> bool:
    """Whether that has been said."""
    return os.path.exists(os.path.join(local, _READY))


def unbound_cpus(notes: Mapping[int, Mapping[str, Any]], all_cpus: set[int]) -> set[int]:
    """CPUs to which no rank is bound; empty where there are none, or no rank is bound to some of them."""
    bound = [set(note["cpus"]) for note in notes.values() if note.get("cpus")]
    return all_cpus.difference(*bound) if bound else set()


def move_to(cpus: set[int]) -> None:
    """Have all threads of this process run on some CPUs, as far as they may."""
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended, or the cpuset has none of these
            os.sched_setaffinity(int(task), cpus)
