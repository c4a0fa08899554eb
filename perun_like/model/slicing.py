"""Parts of a recording: what was measured in place under one name, with the samples and calls around it."""

from __future__ import annotations

import numpy as np

from perun_like.model.narrow import cut
from perun_like.model.recording import HostRecording, Recording, RegionCalls, Rounds, Stream

_MARGIN_SWEEPS = 2  # before and after: bounds need a read on either side


def by_name(recording: Recording) -> list[Recording]:
    """One recording for each name under which something was measured in place, in order of their beginnings.

    Each has the samples and the calls of regions from its first round to its last. Rounds of the other names are
    calls of regions there.
    """
    rounds = [each for host in recording.hosts for each in host.rounds]
    first_ns: dict[str, int] = {}
    for each in rounds:
        first_ns[each.name] = min(first_ns.get(each.name, each.start_ns[0]), each.start_ns[0])
    return [named(recording, name) for name in sorted(first_ns, key=lambda name: first_ns[name])]


def named(recording: Recording, name: str) -> Recording:
    """What was measured in place under a name."""
    mine = [each for host in recording.hosts for each in host.rounds if each.name == name]
    window_ns = int(min(each.start_ns[0] for each in mine)), int(max(each.stop_ns.max() for each in mine))
    function = recording.metadata.get("functions", {}).get(name)
    facts = {key: value for key, value in recording.metadata.items() if key != "functions"}
    return recording._replace(
        name=name,
        window_ns=window_ns,
        started_unix_ns=recording.started_unix_ns + window_ns[0] - recording.window_ns[0],
        hosts=tuple(_host(host, name, window_ns) for host in recording.hosts),
        metadata={**facts, "function": function} if function else facts,
    )


def _host(host: HostRecording, name: str, window_ns: tuple[int, int]) -> HostRecording:
    others = [_as_calls(each) for each in host.rounds if each.name != name]
    calls = [_calls(each, window_ns) for each in (*host.regions, *others)]
    return host._replace(
        streams=tuple(_stream(stream, window_ns) for stream in host.streams),
        regions=tuple(each for each in calls if len(each.region) or each.lost_calls),
        rounds=tuple(each for each in host.rounds if each.name == name),
    )


def _stream(stream: Stream, window_ns: tuple[int, int]) -> Stream:
    old_ns = max((sensor.tick_ns + sensor.lag_ns for sensor in stream.sensors), default=0)
    first = int(np.searchsorted(stream.t1_ns, window_ns[0])) - _MARGIN_SWEEPS
    last = int(np.searchsorted(stream.t0_ns, window_ns[1] + old_ns)) + _MARGIN_SWEEPS
    rows = slice(max(first, 0), last)
    raw = [cut(column, rows) for column in stream.raw]
    return stream._replace(t0_ns=stream.t0_ns[rows], t1_ns=stream.t1_ns[rows], raw=raw, valid=stream.valid[:, rows])


def _calls(calls: RegionCalls, window_ns: tuple[int, int]) -> RegionCalls:
    """The calls that touch a window, with the names of those alone."""
    some = (calls.start_ns < window_ns[1]) & (calls.stop_ns > window_ns[0])
    used, region = np.unique(calls.region[some], return_inverse=True)
    columns = {column: getattr(calls, column)[some] for column in ("thread", "start_ns", "stop_ns", "resumed")}
    return calls._replace(names=tuple(calls.names[i] for i in used), region=region.astype(np.int64), **columns)


def _as_calls(rounds: Rounds) -> RegionCalls:
    intervals = len(rounds.round)
    return RegionCalls(
        pid=rounds.pid,
        rank=rounds.rank,
        names=(rounds.name,),
        region=np.zeros(intervals, np.int64),
        thread=np.zeros(intervals, np.int64),
        start_ns=rounds.start_ns,
        stop_ns=rounds.stop_ns,
        resumed=np.diff(rounds.round, prepend=-1) == 0,
        lost_calls={rounds.name: rounds.lost} if rounds.lost else {},
    )


def one_round(rounds: Rounds, which: int) -> Rounds:
    """A single one of them."""
    some, at = rounds.round == which, slice(which, which + 1)
    return rounds._replace(
        round=np.zeros(int(some.sum()), np.int64),
        start_ns=rounds.start_ns[some],
        stop_ns=rounds.stop_ns[some],
        cpu_ns=rounds.cpu_ns[at],
        peak_before_b=rounds.peak_before_b[at],
        peak_after_b=rounds.peak_after_b[at],
        failed=rounds.failed[at],
        lost=0,
    )
