"""From what was sampled to results: the same for a run that goes on, has just ended, or is recovered."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perun_like.analysis.tree import analyse
from perun_like.model.node import DataNode, NodeType
from perun_like.model.recording import HostRecording, Process, Recording, Rounds
from perun_like.model.slicing import named, one_round
from perun_like.monitoring.metadata import assumptions
from perun_like.sampling.host import clocks, host_facts
from perun_like.sensing.contract import ADDED_DOMAINS, Missing
from perun_like.store.aside import set_aside, with_what_is_aside
from perun_like.store.assembly import assemble, part_files
from perun_like.store.place import RunPlace


def recording_of(
    place: RunPlace, processes: Sequence[Mapping[str, Any]], run: Mapping[str, Any], problem: str | None
) -> Recording:
    """The recording of a run that this process has watched.

    Args:
        place: Where its parts are.
        processes: How the program ended, in each round: the fields of :class:`Process`.
        run: Name, id and metadata, in case the sampler left nothing.
        problem: What went wrong with the sampler, if anything did.

    Raises:
        FileError: what was sampled can't be read.
        OSError: what doesn't count of it can't be set aside.
    """
    watched = tuple(Process(**process) for process in processes)
    if _are_there_samples(place):
        recording = assemble(place.parts)
    else:
        recording = _without_samples(run, watched, problem or "the sampling process left nothing")
        recording = with_what_is_aside(recording, place.parts)
    if problem is not None:
        recording = recording._replace(hosts=tuple(host._replace(cut=problem) for host in recording.hosts))
    return recording._replace(processes=watched, window_ns=(watched[0].start_ns, watched[-1].stop_ns))


def recording_of_all(place: RunPlace) -> Recording:
    """The recording of a run of several ranks, from what each of them has noted.

    Raises:
        FileError: there is no part that can be read.
        OSError: what doesn't count of them can't be set aside.
    """
    set_aside(place.parts, part_files(place.parts))
    return assemble(place.parts)


def _are_there_samples(place: RunPlace) -> bool:
    """Whether there are parts that count, once others are set aside; somebody may have removed them all."""
    if not os.path.isdir(place.parts):
        return False
    set_aside(place.parts, part_files(place.parts), even_all=True)
    return bool(part_files(place.parts))


def result_of(recording: Recording) -> DataNode:
    """The result tree of a recording, with the place and price of the run's settings."""
    return analyse(recording, assumptions(recording.metadata.get("settings", {})))


def result_of_call(place: RunPlace, name: str, start_ns: int, stop_ns: int) -> DataNode:
    """The RUN of a single call in a run of this process that still goes on."""
    recording = assemble(place.parts, live=True)
    host = recording.hosts[0]
    known = [one_round(each, number) for each in host.rounds for number in each.round[each.start_ns == start_ns]]
    call = known[0] if known else _nested(name, start_ns, stop_ns)
    others = tuple(each for each in host.rounds if each.name != name)
    alone = recording._replace(hosts=(host._replace(rounds=(*others, call)),))
    return result_of(named(alone, name)).find(NodeType.RUN)[0]


def _nested(name: str, start_ns: int, stop_ns: int) -> Rounds:
    """A call within another one, whose time alone is known."""
    unknown = np.full(1, -1, np.int64)
    return Rounds(
        name=name,
        pid=os.getpid(),
        rank=0,
        round=np.zeros(1, np.int64),
        start_ns=np.array([start_ns]),
        stop_ns=np.array([stop_ns]),
        cpu_ns=unknown,
        peak_before_b=unknown,
        peak_after_b=unknown,
        failed=np.zeros(1, np.bool_),
    )


def _without_samples(run: Mapping[str, Any], processes: tuple[Process, ...], reason: str) -> Recording:
    """How the program ended is known even if nothing was sampled."""
    now = clocks()
    missing = Missing("sampler", "all sensors", reason, domains=ADDED_DOMAINS)
    host = HostRecording(host_facts(), (), (missing,), (), {}, reason)
    return Recording(
        name=run["name"],
        run_id=run["run_id"],
        started_unix_ns=now["realtime_ns"] + processes[0].start_ns - now["monotonic_ns"],
        window_ns=(processes[0].start_ns, processes[-1].stop_ns),
        hosts=(host,),
        processes=processes,
        metadata=run["metadata"],
    )
