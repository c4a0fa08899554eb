"""Parts of a run as samplers leave them, made of recordings: input for whatever puts a run together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from perun_like.model.recording import RAISED, UNENDED, Int64s, Process, Recording, RegionCalls, Rounds, Stream
from perun_like.sampling import spool
from perun_like.sampling.spool import Part

_ROWS_PER_FRAME = 300  # what is moved at once in 30 s at 10 Hz


def write_part(path: str, recording: Recording, *, complete: bool = True, job: str | None = None) -> None:
    """Write the part of a host.

    Args:
        path: The file.
        recording: Of one host, on its own clock; ``host["clocks"]`` has the pairs at its beginning and end.
        complete: Whether its sampler came to its end.
        job: Tells the job from others; None as in parts from before November 2026, and for programs that stand alone.
    """
    (host,) = recording.hosts
    facts = {name: value for name, value in host.host.items() if name != "clocks"}
    begin, end = host.host["clocks"]
    run: dict[str, Any] = {"name": recording.name, "run_id": recording.run_id or None, "job": job}
    run |= {"size": recording.size, "metadata": recording.metadata}
    part = Part(path)
    local = f"/nowhere/{os.path.basename(path)}"  # tells samplers from each other
    part.write_json(spool.HEADER, {"run": run, "local": local, "marks": None, "host": facts, "clocks": begin})
    part.write_json(spool.NOTE, {"missing": [missing._asdict() for missing in host.missing]})
    for number, stream in enumerate(host.streams):
        _write_stream(part, stream, number)
    for process in recording.processes:
        part.write_json(spool.NOTE, {"process": _process(process)})
    for number, calls in enumerate(host.regions):
        _write_calls(part, calls, number)
    for number, rounds in enumerate(host.rounds, len(host.regions)):
        _write_rounds(part, rounds, number)
    if complete:
        ranks = [process.rank for process in recording.processes]
        part.write_json(spool.FOOTER, {"stats": host.stats, "clocks": end, "cut": host.cut, "ranks": ranks})
    part.close()


def _process(process: Process) -> dict[str, Any]:
    """What a rank notes of itself."""
    names = ("rank", "pid", "start_ns", "round", "stop_ns", "exit_code", "signal", "cpu_s", "max_rss_b")
    return {name: getattr(process, name) for name in (*names, "max_rss_floor_b")}


def _write_stream(part: Part, stream: Stream, number: int) -> None:
    sensors = [sensor._asdict() for sensor in stream.sensors]
    facts: Mapping[str, Any] = {"backend": stream.backend, "period_ns": stream.period_ns, "sensors": sensors}
    part.write_json(spool.STREAM, dict(facts), number)
    rows = rows_of(stream)
    for sequence, first in enumerate(range(0, len(rows), _ROWS_PER_FRAME), 1):
        part.write(spool.ROWS, rows[first : first + _ROWS_PER_FRAME].tobytes(), number, sequence)


def rows_of(stream: Stream) -> Int64s:
    """The sweeps of a stream as a sampler writes them, one row each."""
    sensors = len(stream.sensors)
    masks = np.zeros((spool.mask_words(sensors), len(stream.t0_ns)), np.int64)
    for row, valid in enumerate(stream.valid):
        masks[row // spool.MASK_BITS] |= valid.astype(np.int64) << (row % spool.MASK_BITS)
    raw = np.where(stream.valid, np.asarray(stream.raw), 0)
    return np.ascontiguousarray(np.vstack([stream.t0_ns, stream.t1_ns, masks, raw]).T, "<i8")


def _write_calls(part: Part, calls: RegionCalls, number: int) -> None:
    facts: dict[str, Any] = {"pid": calls.pid, "rank": calls.rank, "names": list(calls.names)}
    facts |= {"lost": calls.lost_calls, "lost_rounds": {}}
    part.write_json(spool.NOTE, {"marks": facts, "number": number})
    part.write(spool.MARKS, _rows(_call_words(calls)), stream=calls.rank, sequence=number)
    part.write(spool.ROUNDS, b"", stream=calls.rank, sequence=number)


def _write_rounds(part: Part, rounds: Rounds, number: int) -> None:
    facts: dict[str, Any] = {"pid": rounds.pid, "rank": rounds.rank, "names": [rounds.name]}
    facts |= {"lost": {}, "lost_rounds": {rounds.name: rounds.lost} if rounds.lost else {}}
    part.write_json(spool.NOTE, {"marks": facts, "number": number})
    part.write(spool.MARKS, b"", stream=rounds.rank, sequence=number)
    part.write(spool.ROUNDS, _rows(_round_words(rounds)), stream=rounds.rank, sequence=number)


def _call_words(calls: RegionCalls) -> list[Int64s]:
    return [calls.region << 1 | calls.resumed, calls.thread, calls.start_ns, calls.stop_ns]


def _round_words(rounds: Rounds) -> list[Int64s]:
    """One row an interval. Those of a round after the first resume it; times and peaks of all of it are on each."""
    firsts = np.searchsorted(rounds.round, rounds.round)
    resumed = np.diff(rounds.round, prepend=-1) == 0
    asked = rounds.cpu_ns >= 0
    cpu_us = np.where(asked, rounds.cpu_ns // 1000, 0)[rounds.round]
    fates = rounds.failed[rounds.round]
    flags = resumed | (fates == RAISED).astype(np.int64) << 1
    peaks = [np.maximum(column, 0)[rounds.round] // 1024 for column in (rounds.peak_before_b, rounds.peak_after_b)]
    begun = np.where(asked, 1, 0)[rounds.round]
    spent = np.where(resumed, begun, begun + cpu_us)
    last = np.diff(rounds.round, append=-1) != 0
    stop_ns = np.where(last & (fates == UNENDED), 0, rounds.stop_ns)
    return [flags, firsts, rounds.start_ns, stop_ns, begun, spent, *peaks]


def _rows(words: list[Int64s]) -> bytes:
    return np.ascontiguousarray(np.vstack(words).T, "<i8").tobytes()
