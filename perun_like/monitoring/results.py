"""From what was sampled to a saved result: the same for a run that has just ended and for one that is recovered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perun_like.analysis.tree import analyse
from perun_like.errors import FileError
from perun_like.model.node import DataNode
from perun_like.model.recording import HostRecording, Process, Recording
from perun_like.monitoring.metadata import assumptions
from perun_like.sampling.host import clocks, host_facts
from perun_like.sampling.local import remove_directory
from perun_like.sensing.contract import Missing
from perun_like.store.assembly import assemble, local_directories
from perun_like.store.place import RunPlace
from perun_like.store.writer import write


def recording_of(place: RunPlace, process: Mapping[str, Any], run: Mapping[str, Any], problem: str | None) -> Recording:
    """The recording of a run that this process has watched.

    Args:
        place: Where its parts are.
        process: How the program ended: the fields of :class:`Process`.
        run: Name, id and metadata, in case the sampler left nothing.
        problem: What went wrong with the sampler, if anything did.
    """
    watched = Process(**process)
    try:
        recording = assemble(place.parts)
    except FileError:
        recording = _without_samples(run, watched, problem or "the sampling process left nothing")
    if problem is not None:
        recording = replace(recording, hosts=tuple(replace(host, cut=problem) for host in recording.hosts))
    return replace(recording, processes=(watched,), window_ns=(watched.start_ns, watched.stop_ns))


def result_of(recording: Recording) -> DataNode:
    """The result tree of a recording, with the place and price of the run's settings."""
    return analyse(recording, assumptions(recording.metadata.get("settings", {})))


def save(recording: Recording, tree: DataNode, place: RunPlace) -> None:
    """Write a recording and its result to the run's file; then the parts are no longer needed.

    Raises:
        PerunError: the file can't be written; the parts are kept.
    """
    write(place.path, recording, tree)
    place.release()


def recover(parts: str) -> tuple[DataNode, str]:
    """Turn the parts of a run that was cut short into a results file; returns the result and the file's path.

    Raises:
        PerunError: the run still goes on, there is nothing to recover, or the file can't be written.
    """
    place = RunPlace.of_parts(parts)
    try:
        recording = assemble(place.parts)
        tree = result_of(recording)
        left_behind = local_directories(place.parts)
        save(recording, tree, place)
    finally:
        place.unlock()
    for directory in left_behind:
        remove_directory(directory)
    return tree, place.path


def _without_samples(run: Mapping[str, Any], process: Process, reason: str) -> Recording:
    """How the program ended is known even if nothing was sampled."""
    now = clocks()
    host = HostRecording(host_facts(), (), (Missing("sampler", "all sensors", reason),), (), {}, reason)
    return Recording(
        name=run["name"],
        run_id=run["run_id"],
        started_unix_ns=now["realtime_ns"] + process.start_ns - now["monotonic_ns"],
        window_ns=(process.start_ns, process.stop_ns),
        hosts=(host,),
        processes=(process,),
        metadata=run["metadata"],
    )
