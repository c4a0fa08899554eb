"""Results as files: of a run that has just ended or is recovered, and of what a process has measured of itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from perun_like.analysis.merge import merged
from perun_like.errors import FileError, InputError
from perun_like.model.joining import joined
from perun_like.model.node import DataNode
from perun_like.model.recording import Recording
from perun_like.model.slicing import by_name, named
from perun_like.monitoring import host_files, journal
from perun_like.monitoring.application import file_name
from perun_like.monitoring.metadata import assumptions
from perun_like.monitoring.results import result_of
from perun_like.sampling.local import remove_directory
from perun_like.sampling.segments import remove_nameless
from perun_like.store import gather
from perun_like.store.aside import set_aside, with_what_is_aside
from perun_like.store.assembly import assemble, local_directories, part_files, with_id
from perun_like.store.place import RunPlace
from perun_like.store.publish import publish, stamp_of
from perun_like.store.reader import load, open_run, recording_of
from perun_like.store.summary import Summary, read_tree
from perun_like.store.trust import telling_damage
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


def save_job(place: RunPlace, name: str | None = None) -> tuple[DataNode, str]:
    """Make the result of a run of several ranks from what is in its parts directory, and save it.

    Of several hosts, each has its file made first if it has none yet. Then only what they amount to is looked at.

    Args:
        place: The run's.
        name: If the run was measured in place: under which name; other names' rounds are regions then.

    Returns:
        The result and its file.

    Raises:
        PerunError: there is nothing to save, or it can't be written; what is there is kept.
    """
    set_aside(place.parts, part_files(place.parts))
    hosts = _host_files(place)
    if hosts is not None:
        return _save_hosts(place, hosts)
    recording = assemble(place.parts)
    place = _named(place, recording)
    if name is not None and any(host.rounds for host in recording.hosts):
        recording = named(recording, name)
    tree = result_of(recording)
    save(recording, tree, place)
    return tree, place.path


def recover(parts: str) -> list[tuple[DataNode, str]]:
    """Turn the parts of a run that was cut short into results files; returns the results and their files.

    Whatever ends it, it can be repeated.

    Raises:
        StillWrittenError: the run goes on, or somebody else recovers it.
        PerunError: there is nothing to recover, or a file can't be written.
    """
    place = RunPlace.of_parts(parts)
    try:
        set_aside(place.parts, part_files(place.parts))
        left_behind = local_directories(place.parts)
        saved = _recovered(place)
    finally:
        place.unlock()
    for directory in left_behind:
        remove_directory(directory)
    remove_nameless()
    return saved


def _recovered(place: RunPlace) -> list[tuple[DataNode, str]]:
    path = journal.published(place)
    if path is not None:  # only what it was made of is still to be removed
        tree = load(path)
        journal.release(place._replace(path=path))
        return [(tree, path)]
    hosts = _host_files(place)
    if hosts is not None:
        return [_save_hosts(place, hosts)]
    recording = assemble(place.parts)
    place = _named(place, recording)
    if any(host.rounds for host in recording.hosts):
        return save_each(recording, place)
    with telling_damage(place.parts):
        tree = result_of(recording)
    try:
        save(recording, tree, place)
    except InputError:
        if not _is_saved(recording, place.path):
            raise
        place.release()
    return [(tree, place.path)]


def _named(place: RunPlace, recording: Recording) -> RunPlace:
    """The place of a run whose id and name are known now; a job's parts are not below its name."""
    return place.named(recording.run_id, file_name(recording.name) if recording.size > 1 else None)


def _is_saved(recording: Recording, path: str) -> bool:
    """Whether a file has this very run: who saved it was killed before the parts were removed."""
    try:
        with open_run(path) as run:
            there = recording_of(run.facts())
    except (FileError, LookupError, TypeError, ValueError):
        return False
    mine = (recording.name, recording.run_id, recording.window_ns, recording.processes)
    return mine == (there.name, there.run_id, there.window_ns, there.processes)


def _host_files(place: RunPlace) -> list[Summary] | None:
    """The files of a run's hosts, all of them; None if the run is to be looked at as a whole."""
    path = journal.intended(place)
    if path is not None:
        host_files.take_back(place, gather.hosts_directory(path))
    return host_files.complete(place)


def _save_hosts(place: RunPlace, hosts: Sequence[Summary]) -> tuple[DataNode, str]:
    """One file of all hosts, or a master file beside theirs; nothing is removed before all of it is safe."""
    whole = with_what_is_aside(with_id(joined([host.recording for host in hosts]), place.parts), place.parts)
    place = _named(place, whole)
    tree = merged(whole, map(read_tree, hosts), assumptions(whole.metadata.get("settings", {})))
    files, directory = [host.file for host in hosts], host_files.directory_of(place)
    together = gather.fit_in_one(files)
    if together:
        image = gather.one_file(whole, tree, files, directory)
    else:
        image = gather.master_file(place.path, whole, tree, files)
    journal.write(place, stamp_of(image))
    if not together:
        gather.move_in(files, directory, place.path)
    publish(place.path, image, draft_in=place.parts)
    journal.release(place)
    return tree, place.path
