"""From what samplers left to one recording: the same for a run that ended well and for one that was cut.

A run in progress is the directory ``<run id>.parts`` beside the file it will become, with a part for each sampler: one
a host, or a few where devices are hidden from some of its ranks.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from perun_like.errors import FileError
from perun_like.model.joining import joined
from perun_like.model.recording import HostRecording, Process, Recording
from perun_like.sampling import spool_reader
from perun_like.sampling.completing import KILLED
from perun_like.sampling.local import is_local_directory, is_of_part
from perun_like.store.aside import counted, with_what_is_aside
from perun_like.store.part import Part, header
from perun_like.store.place import mark_of


def assemble(parts_directory: str, *, live: bool = False) -> Recording:
    """The recording of a run from the parts of its hosts.

    Args:
        parts_directory: ``<run id>.parts``.
        live: Whether the run still goes on: then its parts lack an end without having been cut.

    Raises:
        FileError: there is no part here that can be read.
    """
    cut = None if live else KILLED
    hosts = [_parts(paths) for paths in parts_by_host(part_files(parts_directory)).values()]
    if not hosts:
        raise FileError(f"{parts_directory} holds no part of a run: not a .parts directory, or nothing was sampled")
    made = sorted(((_recording(parts, cut), parts) for parts in hosts), key=lambda of: order_of(of[0], of[1][0].path))
    whole = joined([recording for recording, _ in made])
    if len(made) > 1 and any(host.rounds for host in whole.hosts):
        whole = whole._replace(hosts=tuple(_until_the_end(whole, [parts for _, parts in made], cut)))
    return with_what_is_aside(with_id(whole, parts_directory), parts_directory)


def assemble_host(paths: Sequence[str]) -> Recording:
    """The recording of one host, on its own clock, from its parts.

    The run's id is empty unless the user has given one: it is made of when the whole run was started.

    Args:
        paths: All parts of the host.

    Raises:
        FileError: one of the parts can't be read.
    """
    return _recording(_parts(paths), KILLED)


def _parts(paths: Sequence[str]) -> list[Part]:
    """A host's parts, each once, that of the sampler of its ranks first."""
    return sorted(map(Part, counted(paths)), key=lambda part: part.order)


def _recording(parts: Sequence[Part], cut: str | None) -> Recording:
    first, run = parts[0], parts[0].run
    gpus = {rank: seen for part in parts for rank, seen in part.gpus().items()}
    processes = tuple(each._replace(gpus=gpus.get(each.rank)) for part in parts for each in part.processes())
    window_ns = _window(processes, first)
    return Recording(
        name=run["name"],
        run_id=run["run_id"] or "",
        started_unix_ns=window_ns[0] - first.ahead_ns,
        window_ns=window_ns,
        hosts=tuple(part.recording(window_ns[1], cut) for part in parts),
        processes=processes,
        metadata={**run["metadata"], **_functions(parts)},
        size=run.get("size", 1),
    )


def _until_the_end(whole: Recording, hosts: Sequence[Sequence[Part]], cut: str | None) -> Iterator[HostRecording]:
    """What was measured in place goes on until the run's end on all hosts, if its own was not seen."""
    end_unix_ns = whole.window_ns[1] - hosts[0][0].ahead_ns
    for parts in hosts:
        yield from (part.recording(end_unix_ns + parts[0].ahead_ns, cut) for part in parts)


def order_of(host: Recording, path: str) -> tuple[int, str]:
    """Where a host comes among those of its run: by the first of its ranks, without ranks last, then by name."""
    return min((process.rank for process in host.processes), default=sys.maxsize), os.path.basename(path)


def with_id(whole: Recording, parts_directory: str) -> Recording:
    """A run with its id: the given one, or one that sorts by time and is the same whenever its parts are assembled."""
    if whole.run_id:
        return whole
    started = time.strftime("%Y-%m-%dT%H%M%S", time.localtime(whole.started_unix_ns / 1e9))
    return whole._replace(run_id=f"{started}-{mark_of(parts_directory)}")


def part_files(parts_directory: str, beginning: str = "") -> list[str]:
    """The parts in a directory, but for those of samplers that were killed before they had written anything.

    Args:
        parts_directory: The directory.
        beginning: What their names begin with.

    Raises:
        FileError: the directory can't be read.
    """
    try:
        with os.scandir(parts_directory) as entries:
            parts = [e for e in entries if e.name.endswith(".part") and e.name.startswith(beginning)]
            plain = [entry for entry in parts if entry.is_file(follow_symlinks=False)]
            return sorted(entry.path for entry in plain if entry.stat(follow_symlinks=False).st_size)
    except OSError as error:
        raise FileError(f"can't read {parts_directory}: {error.strerror}") from error


def parts_by_host(paths: Sequence[str]) -> dict[str, list[str]]:
    """Parts by the identity of their hosts; of each only the beginning is read.

    Raises:
        FileError: one of them can't be read.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        facts = header(path)["host"]
        identity = facts.get("boot_id") or facts.get("hostname") or os.path.basename(path)
        found.setdefault(str(identity), []).append(path)
    return found


def local_directories(parts_directory: str) -> list[str]:
    """Directories on this host that killed samplers left, and that the recording has the contents of.

    A part may have been copied, or made by anybody: a directory is only one of these if it names the part as well.
    """
    found: dict[str, None] = {}
    for path in part_files(parts_directory):
        facts = header(path) if spool_reader.footer(path) is None else {"local": ""}
        local = facts["local"]
        if is_local_directory(local) and is_of_part(local, path):
            found[local] = None
            marks = facts["marks"] or local
            if local.startswith(marks + os.sep) and is_local_directory(marks):
                found[marks] = None
    return list(found)


def _functions(parts: Sequence[Part]) -> dict[str, Any]:
    """Where the functions stand that were measured in place, by name."""
    found = {name: place for part in parts for name, place in part.functions()}
    return {"functions": found} if found else {}


def _window(processes: Sequence[Process], first: Part) -> tuple[int, int]:
    if not processes:  # cut before the application was started
        return first.clocks["monotonic_ns"], first.clocks["monotonic_ns"]
    return min(process.start_ns for process in processes), max(process.stop_ns for process in processes)
