"""When the rounds of a run were, and what is known of each beside the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from perun_like.analysis.hosts import Host
from perun_like.analysis.intervals import union
from perun_like.analysis.windows import Windows
from perun_like.model.recording import UNENDED, Fates, Int64s, Process, Recording, Rounds


class Call(NamedTuple):
    """What a process said of itself in a round that was measured in place.

    Attributes:
        windows: When it was in the round, on the first host's clock.
        cpu_s: CPU time of the process and of children it waited for, during the round; None if it wasn't asked.
        peak_before_b, peak_after_b: High-water mark of its resident set at the start and the end; None likewise.
        failed: Whether it ended by an exception, or its end was not recorded.
        unended: Whether its end was not recorded.
    """

    rank: int
    windows: Windows
    cpu_s: float | None
    peak_before_b: int | None
    peak_after_b: int | None
    failed: bool
    unended: bool


class Round(NamedTuple):
    """One round of a run, or what was of it on one host.

    Attributes:
        windows: When it was, on the first host's clock; none if a host has no part in it.
        processes: Of the application: those that it was, or those that measured a part of themselves.
        calls: What the latter said of it; None if the round is processes from beginning to end.
        rounds: How many there are.
        until_ns: When the next one begins, on the first host's clock; None if none does.
    """

    number: int
    windows: Windows
    processes: tuple[Process, ...]
    calls: tuple[Call, ...] | None = None
    rounds: int = 1
    until_ns: int | None = None

    def on(self, host: Host) -> Host:
        """The host that this is of, or the only one, in this round."""
        whole = self.rounds == 1 and self.calls is None and not any(process.in_place for process in self.processes)
        until_ns = None if self.until_ns is None else self.until_ns + host.shift_ns
        windows = self.windows.later(host.shift_ns)
        return replace(host, windows=windows, rounds=self.rounds, whole=whole, until_ns=until_ns)

    @property
    def window_ns(self) -> tuple[int, int]:
        """From its start to its end, on the first host's clock."""
        return int(self.windows.a_ns[0]), int(self.windows.b_ns[-1])

    @property
    def duration_s(self) -> float:
        """Time in it."""
        return float(np.sum(self.windows.b_ns - self.windows.a_ns)) / 1e9

    @property
    def failed(self) -> bool:
        """Whether it didn't end as it should."""
        if self.calls is not None:
            return any(call.failed for call in self.calls)
        return not self.processes or any(p.signal is not None or p.exit_code != 0 for p in self.processes)

    @property
    def unended(self) -> bool:
        """Whether all that is known to have failed of what was measured in place is that its end was not recorded."""
        failed = [call for call in self.calls or () if call.failed]
        return bool(failed) and all(call.unended for call in failed)


class Timeline(NamedTuple):
    """All rounds of a run, or what was of them on one host.

    Attributes:
        windows: Theirs: each round is an owner, on the first host's clock.
        processes: Of each round, if rounds are processes; of all of them together, if they were measured in place.
        ranks: What was measured in place, of each rank; empty if rounds are processes.
        in_place: Whether rounds were measured in place.
        lost: Further rounds, of which nothing is known.
        hosts: Where there are several, what was on each, by its name: rounds last from the first of its own ranks'
            beginnings to the last of their ends, as it is not sampled any longer.
    """

    windows: Windows
    processes: Sequence[tuple[Process, ...]]
    ranks: Sequence[RankRounds] = ()
    in_place: bool = False
    lost: int = 0
    hosts: Mapping[str, Timeline] = {}

    def on(self, host: Host) -> Timeline:
        """What was on a host."""
        return self.hosts.get(host.name, self)

    @property
    def failed(self) -> int:
        """How many rounds failed."""
        if not self.in_place:
            return sum(self.round(number).failed for number in range(self.windows.owners))
        failed = np.zeros(self.windows.owners, np.bool_)
        for rank in self.ranks:
            failed[: len(rank.failed)] |= rank.failed != 0
        return int(failed.sum())

    def round(self, number: int) -> Round:
        """One of them."""
        rounds, windows = self.windows.owners, self.windows.of(number)
        if self.in_place:
            calls = tuple(rank.call(number) for rank in self.ranks if number < len(rank.failed))
            return Round(number, windows, self.processes[0], calls, rounds)
        later = [int(a_ns) for a_ns in self.windows.of(number + 1).a_ns] if number + 1 < rounds else []
        return Round(number, windows, self.processes[number], None, rounds, later[0] if later else None)


class RankRounds(NamedTuple):
    """What was measured in place on a rank: the interval's round, ascending, and what is known of each round."""

    rank: int
    round: Int64s
    start_ns: Int64s
    stop_ns: Int64s
    cpu_ns: Int64s
    peak_before_b: Int64s
    peak_after_b: Int64s
    failed: Fates
    lost: int

    def call(self, number: int) -> Call:
        """What is known of one round."""
        cpu_ns, before_b, after_b = (
            int(column[number]) for column in (self.cpu_ns, self.peak_before_b, self.peak_after_b)
        )
        first, behind = np.searchsorted(self.round, [number, number + 1])
        return Call(
            rank=self.rank,
            windows=Windows.joined(self.start_ns[first:behind], self.stop_ns[first:behind]),
            cpu_s=None if cpu_ns < 0 else cpu_ns / 1e9,
            peak_before_b=None if before_b < 0 else before_b,
            peak_after_b=None if after_b < 0 else after_b,
            failed=bool(self.failed[number]),
            unended=bool(self.failed[number] == UNENDED),
        )


def timeline_of(recording: Recording, hosts: Sequence[Host]) -> Timeline:
    """The rounds of a run.

    Args:
        recording: Of one program, of one that was repeated, or of what was measured in place under one name.
        hosts: Its hosts.
    """
    marked = [(rounds, host.shift_ns) for host in hosts for rounds in host.recording.rounds if len(rounds.cpu_ns)]
    whole = _in_place(recording, marked) if marked else _of_programs(recording)
    return whole if len(hosts) < 2 else whole._replace(hosts=_on_hosts(whole, hosts))


def _of_programs(recording: Recording) -> Timeline:
    """Round k is the processes that say so."""
    numbers = sorted({process.round for process in recording.processes})
    if len(numbers) < 2:
        return Timeline(Windows.one(*recording.window_ns), [recording.processes])
    each: dict[int, list[Process]] = {number: [] for number in numbers}
    for process in recording.processes:
        each[process.round].append(process)
    hulls = [_hull(those) for those in each.values()]
    windows = Windows.each(*(np.array(column, np.int64) for column in zip(*hulls, strict=True)))
    return Timeline(windows, [tuple(those) for those in each.values()])


def _hull(processes: Sequence[Process]) -> tuple[int, int]:
    return min(process.start_ns for process in processes), max(process.stop_ns for process in processes)


def _on_hosts(whole: Timeline, hosts: Sequence[Host]) -> dict[str, Timeline]:
    """Each host's part, by its name. Processes were where they say, else where their rank left marks."""
    named = {host.identity: host.name for host in hosts}
    marked = {rank: host.name for host in hosts for rank in host.marked_ranks}
    processes: dict[str, list[list[Process]]] = {host.name: [[] for _ in whole.processes] for host in hosts}
    ranks: dict[str, list[RankRounds]] = {host.name: [] for host in hosts}
    for number, those in enumerate(whole.processes):
        for process in those:
            place = named.get(process.host) if process.host else marked.get(process.rank)
            if place is not None:
                processes[place][number].append(process)
    for rank in whole.ranks:
        ranks[marked[rank.rank]].append(rank)
    return {name: _part(whole, [tuple(each) for each in processes[name]], ranks[name]) for name in processes}


def _part(whole: Timeline, processes: Sequence[tuple[Process, ...]], ranks: Sequence[RankRounds]) -> Timeline:
    """A host's part of a run. One of which no process or mark is known is thought to be of all of it."""
    windows = whole.windows
    if ranks or (whole.in_place and any(processes)):  # of those that only measured something else there is nothing
        windows = _together(ranks, windows.owners)
    elif any(processes):
        owner = np.array([number for number, those in enumerate(processes) if those], np.int64)
        hulls = np.array([_hull(those) for those in processes if those], np.int64)
        windows = Windows(hulls[:, 0], hulls[:, 1], owner, windows.owners)
    return whole._replace(windows=windows, processes=processes, ranks=ranks)


def _together(ranks: Sequence[RankRounds], rounds: int) -> Windows:
    """From when one of the ranks begins a round to when none is in it any more."""
    none = np.empty(0, np.int64)
    columns = [[none, *(getattr(rank, name) for rank in ranks)] for name in ("round", "start_ns", "stop_ns")]
    owner, start_ns, stop_ns = map(np.concatenate, columns)
    return union(owner, start_ns, stop_ns, rounds)


def _in_place(recording: Recording, marked: Sequence[tuple[Rounds, int]]) -> Timeline:
    """Round k of the run is the k-th of each rank."""
    numbers = sorted({rounds.rank for rounds, _ in marked})
    ranks = [_rank([(rounds, shift) for rounds, shift in marked if rounds.rank == number]) for number in numbers]
    most = max(len(rank.failed) for rank in ranks)
    windows = _together(ranks, most)
    processes = tuple(process for process in recording.processes if process.in_place) or recording.processes
    total = max(len(rank.failed) + rank.lost for rank in ranks)
    return Timeline(windows, [processes], ranks, in_place=True, lost=total - most)


def _rank(parts: Sequence[tuple[Rounds, int]]) -> RankRounds:
    """The rounds of a rank's processes in one order, that of their beginnings; times on the first host's clock."""
    sizes = [len(rounds.cpu_ns) for rounds, _ in parts]
    before = np.cumsum([0, *sizes])
    index = np.concatenate([rounds.round + offset for (rounds, _), offset in zip(parts, before, strict=False)])
    start_ns, stop_ns = (
        np.concatenate([getattr(rounds, name) - shift_ns for rounds, shift_ns in parts])
        for name in ("start_ns", "stop_ns")
    )
    order = np.arange(before[-1])
    if len(parts) > 1:
        order = np.argsort(start_ns[np.searchsorted(index, order)], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    round_ = place[index]
    if len(parts) > 1:
        by_round = np.argsort(round_, kind="stable")
        round_, start_ns, stop_ns = round_[by_round], start_ns[by_round], stop_ns[by_round]

    def column(name: str) -> Int64s:
        return np.asarray(np.concatenate([getattr(rounds, name) for rounds, _ in parts])[order])

    return RankRounds(
        rank=parts[0][0].rank,
        round=round_,
        start_ns=start_ns,
        stop_ns=stop_ns,
        cpu_ns=column("cpu_ns"),
        peak_before_b=column("peak_before_b"),
        peak_after_b=column("peak_after_b"),
        failed=np.concatenate([rounds.failed for rounds, _ in parts])[order].astype(np.uint8),
        lost=sum(rounds.lost for rounds, _ in parts),
    )
