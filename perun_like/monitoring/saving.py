"""Results as files: of a run that has just ended or is recovered, and of what a process has measured of itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from perun_like.model.node import DataNode
from perun_like.model.recording import Recording
from perun_like.model.slicing import by_name
from perun_like.monitoring.application import file_name
from perun_like.monitoring.results import result_of
from perun_like.sampling.local import remove_directory
from perun_like.store.assembly import assemble, local_directories
from perun_like.store.place import RunPlace
from perun_like.store.writer import write


def save(recording: Recording, tree: DataNode, place: RunPlace) -> None:
    """Write a recording and its result to the run's file; then the parts are no longer needed.

    Raises:
        PerunError: the file can't be written; the parts are kept.
    """
    write(place.path, recording, tree)
    place.release()


def save_each(recording: Recording, place: RunPlace) -> list[tuple[DataNode, str]]:
    """Write a recording of what was measured in place: a file for each name; returns the results and their files.

    Raises:
        PerunError: a file can't be written; the parts are kept.
    """
    saved: list[tuple[DataNode, str]] = []
    for part in by_name(recording):
        path = _file_of(part.name, place, [path for _, path in saved])
        tree = result_of(part)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, part, tree)
        saved.append((tree, path))
    place.release()
    with suppress(OSError):  # the directory of the program's name has other runs
        os.rmdir(os.path.dirname(place.path))
    return saved


def _file_of(name: str, place: RunPlace, taken: Sequence[str]) -> str:
    """``<output>/<name>/<run id>.h5``; two names may look the same as a file's."""
    output, run_id = os.path.dirname(os.path.dirname(place.path)), os.path.basename(place.path)
    directory, number = file_name(name), 1
    while (path := os.path.join(output, directory, run_id)) in taken:
        number += 1
        directory = f"{file_name(name)}-{number}"
    return path


def recover(parts: str) -> list[tuple[DataNode, str]]:
    """Turn the parts of a run that was cut short into results files; returns the results and their files.

    Raises:
        PerunError: the run still goes on, there is nothing to recover, or a file can't be written.
    """
    place = RunPlace.of_parts(parts)
    try:
        recording = assemble(place.parts)
        place = place.named(recording.run_id)
        left_behind = local_directories(place.parts)
        if any(host.rounds for host in recording.hosts):
            saved = save_each(recording, place)
        else:
            tree = result_of(recording)
            save(recording, tree, place)
            saved = [(tree, place.path)]
    finally:
        place.unlock()
    for directory in left_behind:
        remove_directory(directory)
    return saved
