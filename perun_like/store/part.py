"""One part file, decoded: what one sampler left of a run, whether it ended well or was cut."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from perun_like.errors import FileError
from perun_like.model.recording import HostRecording, Int64s, Process, RegionCalls, Rounds, Stream
from perun_like.sampling import marks, spool
from perun_like.sampling.collecting import collect
from perun_like.sampling.keeping import frames_of_note, run_of_note, tails_left
from perun_like.sampling.local import is_local_directory
from perun_like.sampling.ranks import ranks_in, read_notes
from perun_like.sampling.spool import Frame
from perun_like.sensing.contract import Missing, Sensor


def header(path: str) -> dict[str, Any]:
    """What a part says at its beginning: ``run``, ``host``, ``clocks``, and where its sampler kept what.

    Raises:
        FileError: it isn't a part, or its beginning is damaged.
    """
    return _header(next(spool.frames(path), None), path)


def _header(frame: Frame | None, path: str) -> dict[str, Any]:
    if frame is None or frame.kind != spool.HEADER:
        raise FileError(f"{path} is damaged at its very beginning, or is not a part of a perun_like run")
    content: dict[str, Any] = json.loads(frame.payload)
    return content


class Part:
    """One part file, decoded.

    Args:
        path: The file.

    Attributes:
        path: The file.
        run: Name, id, size and metadata of the run, as the first of its ranks would have them.
        clocks: The host's at the beginning.

    Raises:
        FileError: it isn't a part, or its beginning is damaged.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._frames = list(spool.frames(path))
        header = self._header = _header(self._frames[0] if self._frames else None, path)
        self.run: dict[str, Any] = header["run"]
        self.clocks: dict[str, int] = header["clocks"]
        self._notes = self._json(spool.NOTE)
        footers = self._json(spool.FOOTER)
        self._footer: dict[str, Any] | None = footers[0] if footers else None
        if self._footer is None and is_local_directory(header["local"]):
            self._frames += tails_left(self._frames, header["local"])
        if self._footer is None and is_local_directory(header.get("marks", header["local"]) or ""):
            self._add_marks(header.get("marks", header["local"]))
        named = [note for note in self._notes if "run" in note]
        if named:
            self.run = min(named, key=lambda note: int(note["rank"]))["run"]
        self._inside = {name for note in self._notes for name in note.get("inside", ())}
        self._streams = [self._stream(frame) for frame in self._frames if frame.kind == spool.STREAM]

    @property
    def order(self) -> tuple[int, str]:
        """Its place among the parts: that of the first of its ranks comes first, those without ranks last."""
        ranks = [facts["rank"] for facts in self._heard().values()]
        return min(ranks, default=sys.maxsize), self.path

    @property
    def ahead_ns(self) -> int:
        """How much its host's CLOCK_MONOTONIC is ahead of real time."""
        return self.clocks["monotonic_ns"] - self.clocks["realtime_ns"]

    def processes(self) -> list[Process]:
        """The last that was heard of each process."""
        return [self._process(facts) for facts in self._heard().values()]

    def _process(self, facts: dict[str, Any]) -> Process:
        # Cut before a sweep it had just begun.
        stop_ns = facts.get("stop_ns", max(self._last_ns(), facts["start_ns"]))
        host = str(self._header["host"].get("boot_id") or "")
        known: dict[str, Any] = {**facts, "stop_ns": stop_ns, "host": host}
        return Process(**known)

    def _heard(self) -> dict[tuple[int, int], dict[str, Any]]:
        told = [note["process"] for note in self._notes if "process" in note]
        return {(facts["rank"], facts["pid"]): facts for facts in told}

    def gpus(self) -> dict[int, tuple[str, ...]]:
        """Identities of the GPUs that ranks could see, as far as its sampler has looked."""
        return {note["gpus_of_rank"]: tuple(note["gpus"]) for note in self._notes if "gpus_of_rank" in note}

    def functions(self) -> list[tuple[str, str]]:
        """Names and places of functions that were measured in place."""
        return [(note["function"], note["place"]) for note in self._notes if "function" in note]

    def recording(self, stop_ns: int, cut: str | None) -> HostRecording:
        """What its sampler recorded.

        Args:
            stop_ns: When the last of the host's processes ended: calls that were open then lasted until then.
            cut: Why it has no end, if it has none.
        """
        missing = [Missing.of(entry) for note in self._notes for entry in note.get("missing", ())]
        footer = self._footer or {"stats": {}, "cut": cut}
        missing += [Missing(self._backend(f), "some samples", "the part is damaged") for f in self._damaged()]
        for backend, reason in footer["stats"].get("failures", {}).items():
            missing.append(Missing(backend, "samples from some moment on", reason))
        return HostRecording(
            host={**self._header["host"], "clocks": [self.clocks, *self._stepped(), footer.get("clocks")]},
            streams=tuple(self._streams),
            missing=tuple(missing),
            regions=tuple(self._region_calls(stop_ns)),
            stats=footer["stats"],
            cut=footer["cut"],
            rounds=tuple(self._rounds(stop_ns)),
        )

    def _stepped(self) -> list[dict[str, int]]:
        """The host's clocks each time that they were found to have left each other behind."""
        return [note["clocks"] for note in self._notes if "clocks" in note]

    def _damaged(self) -> list[Frame]:
        """The streams of which frames of rows are missing between others."""
        rows = [(f.stream, f.sequence) for f in self._frames if f.kind == spool.ROWS]
        streams = [f for f in self._frames if f.kind == spool.STREAM]
        return [f for f in streams if _has_gaps(sorted(number for stream, number in rows if stream == f.stream))]

    @staticmethod
    def _backend(frame: Frame) -> str:
        return str(json.loads(frame.payload)["backend"])

    def _json(self, kind: int) -> list[dict[str, Any]]:
        return [json.loads(frame.payload) for frame in self._frames if frame.kind == kind]

    def _stream(self, frame: Frame) -> Stream:
        facts = json.loads(frame.payload)
        sensors = tuple(self._sensor(sensor) for sensor in facts["sensors"])
        words = spool.row_words(len(sensors))
        rows = b"".join(f.payload for f in self._frames if f.kind == spool.ROWS and f.stream == frame.stream)
        table = np.frombuffer(rows[: len(rows) // (8 * words) * 8 * words], "<i8").reshape(-1, words).T
        first = 2 + spool.mask_words(len(sensors))
        masks = [table[2 + i // spool.MASK_BITS] >> (i % spool.MASK_BITS) & 1 for i in range(len(sensors))]
        return Stream(
            backend=facts["backend"],
            period_ns=facts["period_ns"],
            sensors=sensors,
            t0_ns=np.ascontiguousarray(table[0]),
            t1_ns=np.ascontiguousarray(table[1]),
            raw=np.ascontiguousarray(table[first:]),
            valid=np.array(masks, bool).reshape(len(sensors), -1),
            rank=int(self._header.get("rank", 0)),
        )

    def _sensor(self, facts: dict[str, Any]) -> Sensor:
        """A sensor; what one rank can't see another one may."""
        sensor = Sensor(**facts)
        return sensor._replace(outside="") if sensor.id in self._inside else sensor

    def _last_ns(self) -> int:
        return max((int(s.t1_ns[-1]) for s in self._streams if len(s.t1_ns)), default=self.clocks["monotonic_ns"])

    def _region_calls(self, stop_ns: int) -> Iterable[RegionCalls]:
        for facts, rows in self._marks(spool.MARKS):
            table = _mark_rows(rows, marks.ROW_WORDS, 1, len(facts["names"]))
            if table.size or facts["lost"]:
                yield RegionCalls(
                    pid=facts["pid"],
                    rank=facts["rank"],
                    names=tuple(facts["names"]),
                    region=table[0] >> 1,
                    thread=table[1].copy(),
                    start_ns=table[2].copy(),
                    stop_ns=np.where(table[3] == 0, stop_ns, table[3]),
                    resumed=(table[0] & 1).astype(bool),
                    lost_calls=facts["lost"],
                )

    def _rounds(self, stop_ns: int) -> Iterable[Rounds]:
        for facts, rows in self._marks(spool.ROUNDS):
            yield from _rounds(facts, _mark_rows(rows, marks.ROUND_WORDS, 2, len(facts["names"])), stop_ns)

    def _marks(self, kind: int) -> Iterable[tuple[dict[str, Any], bytes]]:
        """Facts about each process that left marks, and its rows of a kind."""
        rows = {(f.stream, f.sequence): f.payload for f in self._frames if f.kind == kind}
        for note in self._notes:
            if "marks" in note:
                yield note["marks"], rows.get((note["marks"]["rank"], note["number"]), b"")

    def _add_marks(self, local: str) -> None:
        """What the application's processes have marked and noted."""
        for rank, note in read_notes(local).items():
            self._notes.extend(frames_of_note(note))
            if "run" in note:
                self._notes.append(run_of_note(rank, note))
        with contextlib.suppress(OSError):
            for rank in ranks_in(local):
                for number, (facts, calls, rounds) in enumerate(collect(os.path.join(local, str(rank)), rank)):
                    self._notes.append({"marks": facts, "number": number})
                    self._frames.append(Frame(spool.MARKS, rank, number, calls))
                    self._frames.append(Frame(spool.ROUNDS, rank, number, rounds))


def _has_gaps(numbers: list[int]) -> bool:
    return numbers != list(range(1, len(numbers) + 1))


def _mark_rows(payload: bytes, words: int, bits: int, names: int) -> Int64s:
    """Marks as rows of words of a kind, without what was never used and what can't be a mark."""
    row_bytes = 8 * words
    table = np.frombuffer(payload[: len(payload) // row_bytes * row_bytes], "<i8").reshape(-1, words).T
    name, start, stop = table[0] >> bits, table[2], table[3]
    return table[:, (start > 0) & (name >= 0) & (name < names) & ((stop == 0) | (stop >= start))]


def _rounds(facts: dict[str, Any], table: Int64s, stop_ns: int) -> Iterable[Rounds]:
    """The rounds of one process, by name."""
    for number in np.unique(table[0] >> 2):
        name = facts["names"][number]
        yield _rounds_of(name, facts, table[:, table[0] >> 2 == number], stop_ns)


def _rounds_of(name: str, facts: dict[str, Any], table: Int64s, stop_ns: int) -> Rounds:
    table = table[:, np.lexsort((table[2], table[1]))]
    _, index, intervals = np.unique(table[1], return_inverse=True, return_counts=True)
    firsts = np.concatenate([[0], np.cumsum(intervals)[:-1]])
    bits, _, start, stop, cpu_start, cpu_stop, peak_start, peak_stop = table
    asked = (cpu_start > 0) & (cpu_stop > 0)
    cpu_us = np.add.reduceat(np.where(asked, cpu_stop - cpu_start, 0), firsts)
    failed = (bits & marks.RAISED > 0) | (stop == 0)
    peak_before, peak_after = peak_start[firsts], peak_stop[firsts + intervals - 1]
    return Rounds(
        name=name,
        pid=facts["pid"],
        rank=facts["rank"],
        round=index.astype(np.int64),
        start_ns=start.copy(),
        stop_ns=np.where(stop == 0, np.maximum(stop_ns, start), stop),
        cpu_ns=np.where(np.logical_and.reduceat(asked, firsts), cpu_us * 1000, -1),
        peak_before_b=np.where(peak_before > 0, peak_before * 1024, -1),
        peak_after_b=np.where(peak_after > 0, peak_after * 1024, -1),
        failed=np.logical_or.reduceat(failed, firsts),
        lost=int(facts.get("lost_rounds", {}).get(name, 0)),
    )
