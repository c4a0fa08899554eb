"""The ranks of a job that share a host and its sampler, by what each has noted in the directory they share.

``<run>/<rank>/note`` is a JSON object: ``process``, what is known of the rank's process; ``run``, name, id and metadata
as this rank would have them; ``cpus``, those it may run on if it is bound to some; ``environ``, the variables by which
backends tell what it can see; ``view``, what tells which devices it can open; ``functions``, places of functions that
it measures in place. ``ready`` is in a sampler's directory once everything has been read for a first time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from perun_like.sampling.distrust import is_number, parse_object, read_plain

_NOTE, _READY, _HIDES = "note", "ready", "hides"
_MOST_NOTE_BYTES = 1 << 24
_MOST = 1 << 63
# Backends whose devices a job system may let one rank see and hide from another on the same host.
OF_A_VIEW = ("nvml",)
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


def read_notes(run: str) -> dict[int, dict[str, Any]]:
    """What each rank has noted, in the order of ranks."""
    notes: dict[int, dict[str, Any]] = {}
    for rank in ranks_in(run):
        with contextlib.suppress(OSError, ValueError):  # none yet, or what the application has made of it
            notes[rank] = _plausible(parse_object(read_plain(os.path.join(run, str(rank), _NOTE), _MOST_NOTE_BYTES)))
    return notes


def _plausible(note: dict[str, Any]) -> dict[str, Any]:
    """A note without what can't have been noted: the sampler goes by it."""
    types: dict[str, type] = {
        "process": dict,
        "run": dict,
        "environ": dict,
        "functions": dict,
        "cpus": list,
        "view": str,
    }
    known: dict[str, Any] = {key: value for key, value in note.items() if isinstance(value, types.get(key, object))}
    if not _is_process(known.get("process", {})):
        known.pop("process", None)
    if not all(type(cpu) is int for cpu in known.get("cpus", ())):
        del known["cpus"]
    if not all(isinstance(value, str) for value in known.get("environ", {}).values()):
        del known["environ"]
    return known


def _is_process(facts: Mapping[str, Any]) -> bool:
    """Whether facts can be those of a process; when it ended isn't known of one that runs."""
    stop_ns = facts.get("stop_ns")
    numbers = [facts.get(key) for key in ("rank", "pid", "start_ns")] + ([] if stop_ns is None else [stop_ns])
    return all(type(number) is int and 0 <= number < _MOST for number in numbers)


def ranks_in(run: str) -> list[int]:
    """Ranks that have come to this host, whether they are still here or not; none if there is no such directory."""
    with contextlib.suppress(OSError):
        return sorted(int(name) for name in os.listdir(run) if is_number(name))
    return []


def say_ready(directory: str, *, hides: bool = False) -> None:
    """Tell the ranks that wait that everything has been read once.

    Args:
        directory: The sampler's.
        hides: Whether this host has devices that may be hidden from some of its ranks.
    """
    new = os.path.join(directory, _READY + ".new")
    with open(new, "w") as file:
        file.write(_HIDES * hides)
    os.rename(new, os.path.join(directory, _READY))


def is_ready(directory: str) -> bool:
    """Whether that has been said."""
    return os.path.exists(os.path.join(directory, _READY))


def hides_devices(directory: str) -> bool:
    """Whether the host's sampler has said that there are devices that may be hidden from some ranks."""
    with contextlib.suppress(OSError):
        return read_plain(os.path.join(directory, _READY), len(_HIDES)) == _HIDES.encode()
    return False


def bound_cpus() -> list[int]:
    """CPUs that this process may run on, if it is bound to some of them."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return sorted(cpus) if len(cpus) < (os.cpu_count() or 1) else []


def free_cpus(bound: Iterable[Iterable[int]], sys_root: str = "/sys") -> set[int]:
    """CPUs to which nobody is bound, of cores to which nobody is bound if there are such.

    Args:
        bound: CPUs of each rank; empty for one that isn't bound.
        sys_root: Where cores are looked up.

    Returns:
        Empty where there are none, or nobody is bound.
    """
    taken = {cpu for cpus in bound for cpu in cpus}
    free = set(range(os.cpu_count() or 1)) - taken if taken else set[int]()
    of_free_cores = {cpu for cpu in free if not taken & _siblings(cpu, sys_root)}
    return of_free_cores or free


def _siblings(cpu: int, sys_root: str) -> set[int]:
    """The CPUs of a CPU's core, from a list such as ``0-1,64``."""
    try:
        with open(f"{sys_root}/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
            ranges = [[int(end) for end in part.split("-")] for part in file.read().strip().split(",")]
    except (OSError, ValueError):
        return {cpu}
    return {sibling for ends in ranges for sibling in range(ends[0], ends[-1] + 1)}


def move_to(cpus: set[int]) -> None:
    """Have all threads of this process run on some CPUs, as far as they may."""
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended, or the cpuset has none of these
            os.sched_setaffinity(int(task), cpus)
