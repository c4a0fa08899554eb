"""What was recorded of one run, before any analysis: columns, marks and facts. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.model.narrow import RawColumn
from perun_like.sensing.contract import Missing, Sensor

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Fates = NDArray[np.uint8]

RAISED, UNENDED = 1, 2  # how a round that was measured in place failed: by an exception; its end was not recorded


class Stream(NamedTuple):
    """The sweeps of one backend on one host.

    Attributes:
        backend: Its name.
        period_ns: The grid asked for.
        sensors: One a column of ``raw``.
        t0_ns, t1_ns: CLOCK_MONOTONIC just before and just after each sweep, int64, shape (sweeps,), ascending.
        raw: Raw integers as read, a column of ``sweeps`` a sensor: an array of int64, shape (sensors, sweeps), or
            columns that are held narrow. Meaningless where not valid.
        valid: Whether a read succeeded, shape (sensors, sweeps).
        rank: The rank that had the sampler started which read them: of a host's ranks one reads for all.
        apart_ns: How far apart older sweeps are, where some were left out to save room; 0 where all are there.
    """

    backend: str
    period_ns: int
    sensors: tuple[Sensor, ...]
    t0_ns: Int64s
    t1_ns: Int64s
    raw: Int64s | Sequence[RawColumn]
    valid: Bools
    rank: int = 0
    apart_ns: int = 0


class RegionCalls(NamedTuple):
    """Calls of regions in one process: parallel arrays, one element a call, in order of entry.

    Attributes:
        pid: The process that wrote the marks.
        names: Region names; ``region`` indexes into it.
        region: int64, shape (calls,).
        thread: Thread identifiers, int64, shape (calls,).
        start_ns, stop_ns: CLOCK_MONOTONIC, int64, shape (calls,). A call still open when its process died stops with
            the run.
        resumed: Whether the row continues an earlier call (a generator's next step) and is not a call of its own.
        lost_calls: Per name, calls beyond the budget for marks that were only counted.
    """

    pid: int
    rank: int
    names: tuple[str, ...]
    region: Int64s
    thread: Int64s
    start_ns: Int64s
    stop_ns: Int64s
    resumed: Bools
    lost_calls: Mapping[str, int] = {}


class Rounds(NamedTuple):
    """Calls of a function that was measured in place, or passes through a block, in one process.

    A round is one interval of time, but for a generator's, which has one for each of its steps.

    Attributes:
        name: The function's or block's.
        pid, rank: The process that ran it.
        round: Which round an interval belongs to, int64, shape (intervals,), ascending from 0 without gaps.
        start_ns, stop_ns: CLOCK_MONOTONIC, int64, shape (intervals,). One still open when its process died stops with
            the run.
        cpu_ns: CPU time of the whole process, and of children that it waited for, during each round; int64, shape
            (rounds,); -1 where it wasn't asked, as asking costs too much for calls that follow each other at once.
        peak_before_b, peak_after_b: The kernel's high-water mark of the process's resident set at each round's start
            and end, int64, shape (rounds,), -1 where it wasn't asked.
        failed: How each round failed: 0 if it didn't, ``RAISED`` or ``UNENDED``; shape (rounds,).
        lost: Further rounds, beyond the budget, that were only counted.
    """

    name: str
    pid: int
    rank: int
    round: Int64s
    start_ns: Int64s
    stop_ns: Int64s
    cpu_ns: Int64s
    peak_before_b: Int64s
    peak_after_b: Int64s
    failed: Fates | Bools
    lost: int = 0


class HostRecording(NamedTuple):
    """One host's part of a run.

    Attributes:
        host: ``hostname``, ``boot_id``, ``machine``, ``logical_cpus``, ``memory_b``, ``cpu_model``, ``kernel``, …
        missing: What could not be read, with reasons.
        stats: The sampler's own: ``cpu_s``, ``missed_ticks``, ``worst_lateness_ns``, ``max_rss_b``.
        cut: Why the recording ends before the application did; None if it doesn't.
        rounds: Of what was measured in place, one element a process; empty where programs were watched: then each
            process of the recording belongs to a round.
    """

    host: dict[str, Any]
    streams: tuple[Stream, ...]
    missing: tuple[Missing, ...]
    regions: tuple[RegionCalls, ...]
    stats: dict[str, Any]
    cut: str | None = None
    rounds: tuple[Rounds, ...] = ()


class Process(NamedTuple):
    """The application as the operating system saw it when it was reaped (wait4).

    Attributes:
        start_ns, stop_ns: CLOCK_MONOTONIC of the first host.
        exit_code: None if it was ended by a signal or has not been reaped.
        signal: The signal that ended it; None otherwise.
        cpu_s: User and system time of the process and of all descendants that were waited for.
        max_rss_b: Largest resident set of any one of these processes.
        max_rss_floor_b: ``max_rss_b`` can't be smaller than this whatever the program does: the resident set of the
            profiler that it was forked from, which the kernel counts as the child's until exec.
        round: Which repetition of the program it was, from 0.
        in_place: It is the process that measured a part of itself: its end is not the run's, and has not been seen.
        host: ``boot_id`` of the host it was on; empty if there is only one.
        gpus: Identities of the GPUs that this rank of a job could see; None where that was not looked at.
    """

    rank: int
    pid: int
    start_ns: int
    stop_ns: int
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float | None = None
    max_rss_b: int | None = None
    max_rss_floor_b: int = 0
    round: int = 0
    in_place: bool = False
    host: str = ""
    gpus: tuple[str, ...] | None = None

    @property
    def unended(self) -> bool:
        """Whether who watched it has not told its end, which it would have: it was killed itself, most often."""
        return not self.in_place and self.exit_code is None and self.signal is None


class Recording(NamedTuple):
    """One run, all hosts.

    Attributes:
        name, run_id: The application's name and the run's id.
        size: How many ranks it was meant to have.
        started_unix_ns: Wall-clock time of ``window_ns[0]``.
        window_ns: CLOCK_MONOTONIC of the run's start and end on the first host.
        metadata: Command line (unless kept out), versions, settings with their origin.
    """

    name: str
    run_id: str
    started_unix_ns: int
    window_ns: tuple[int, int]
    hosts: tuple[HostRecording, ...]
    processes: tuple[Process, ...]
    metadata: dict[str, Any]
    size: int = 1
