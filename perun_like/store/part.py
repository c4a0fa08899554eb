"""One part file, decoded: what one sampler left of a run, whether it ended well or was cut.

A part may come from anywhere. What can't be so costs only itself, and is told among what is missing; without its
beginning it isn't a part.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from perun_like.errors import FileError
from perun_like.model.recording import HostRecording, Process, RegionCalls, Rounds, Stream
from perun_like.sampling import spool, spool_reader
from perun_like.sampling.collecting import collect
from perun_like.sampling.completing import tails_left
from perun_like.sampling.keeping import frames_of_note, run_of_note
from perun_like.sampling.local import is_local_directory
from perun_like.sampling.ranks import ranks_in, read_notes
from perun_like.sampling.spool_reader import Frame
from perun_like.sampling.thinning import furthest_ns
from perun_like.sensing.contract import ADDED_DOMAINS, Missing
from perun_like.store import facts as known
from perun_like.store import marked
from perun_like.store.references import plain_name
from perun_like.store.sweeps import Rows, sensors_of, stream_of

T = TypeVar("T")

_TOGETHER_NS = 100_000_000  # the default period: streams whose last sweeps are no further apart were cut together


def header(path: str) -> dict[str, Any]:
    """What a part says at its beginning: ``run``, ``host``, ``clocks``, and where its sampler kept what.

    Raises:
        FileError: it isn't a part, or its beginning is damaged.
    """
    return _header(next(_frames(path), None), path)


def _frames(path: str) -> Iterator[Frame]:
    try:
        yield from spool_reader.frames(path)
    except OSError as error:
        raise FileError(f"can't read {path}: {error.strerror}") from error


def _header(frame: Frame | None, path: str) -> dict[str, Any]:
    if frame is None or frame.kind != spool.HEADER:
        whole = sum(1 for other in _frames(path) if other.kind == spool.ROWS)
        told = f"; {whole:,} pieces of samples in it are unharmed, but without it nobody knows whose" if whole else ""
        raise FileError(f"{path} is damaged at its very beginning, or is not a part of a perun_like run{told}")
    try:
        content = spool_reader.json_of(frame)
        return {
            **content,
            "run": _run(known.mapping(content, "run")),
            "host": known.host(known.mapping(content, "host")),
            "clocks": known.clocks(known.mapping(content, "clocks")),
            "rank": known.integer({"rank": 0, **content}, "rank", high=known.MOST_RANKS),
            "local": known.text(content, "local"),
            "marks": known.text(content, "marks") if known.has(content, "marks") else None,
        }
    except ValueError as error:
        raise FileError(f"{path} is damaged: what it says at its beginning can't be ({error})") from error


def _run(content: Mapping[str, Any]) -> dict[str, Any]:
    """Name, id, job, size and metadata of a run. Id and job become files' names: they can't lead elsewhere."""
    return {
        "name": known.text(content, "name"),
        "run_id": plain_name(content["run_id"]) if content.get("run_id") else None,
        "job": plain_name(content["job"]) if content.get("job") else None,
        "size": known.integer({"size": 1, **content}, "size", 1, known.MOST_RANKS),
        "metadata": known.metadata(known.mapping(content, "metadata")),
    }


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
        self._rows: dict[int, Rows] = {}
        self._frames = [self._without_rows(frame) for frame in _frames(path)]
        header = self._header = _header(self._frames[0] if self._frames else None, path)
        self.run: dict[str, Any] = header["run"]
        self.clocks: dict[str, int] = header["clocks"]
        self._damage: dict[Missing, None] = {}
        self._footer = next(iter(self._told(spool.FOOTER, _footer)), None)
        left = self._left_behind() if self._footer is None else []
        self._notes = [note for content in [*self._contents(spool.NOTE), *left] for note in self._try(_note, content)]
        named = [note for note in self._notes if "run" in note]
        if named:
            self.run = min(named, key=lambda note: int(note["rank"]))["run"]
        self._inside = {name for note in self._notes for name in note.get("inside", ())}
        self._apart_ns = max((note["apart_ns"] for note in self._notes if "apart_ns" in note), default=0)
        self._streams = self._all_streams()

    @property
    def order(self) -> tuple[int, str]:
        """Its place among the parts: that of the first of its ranks comes first, those without ranks last."""
        ranks = [process.rank for process, _ in self._heard().values()]
        return min(ranks, default=sys.maxsize), self.path

    @property
    def ahead_ns(self) -> int:
        """How much its host's CLOCK_MONOTONIC is ahead of real time."""
        return self.clocks["monotonic_ns"] - self.clocks["realtime_ns"]

    def processes(self) -> list[Process]:
        """The last that was heard of each process. One whose end wasn't was there until the last sweep at least."""
        host, last_ns = str(self._header["host"].get("boot_id") or ""), self._last_ns()
        return [
            process._replace(host=host, stop_ns=process.stop_ns if ended else max(last_ns, process.start_ns))
            for process, ended in self._heard().values()
        ]

    def _heard(self) -> dict[tuple[int, int], tuple[Process, bool]]:
        told = [note["process"] for note in self._notes if "process" in note]
        return {(process.rank, process.pid): (process, ended) for process, ended in told}

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
        footer = self._footer or {"stats": {}, "cut": cut, "clocks": None}
        missing = [entry for note in self._notes for entry in note.get("missing", ())] + list(self._damage)
        for backend, reason in footer["stats"].get("failures", {}).items():
            missing.append(Missing(backend, "samples from some moment on", reason))
        return HostRecording(
            host={**self._header["host"], "clocks": [self.clocks, *self._stepped(), footer["clocks"]]},
            streams=tuple(self._streams),
            missing=tuple(missing),
            regions=tuple(self._region_calls(stop_ns)),
            stats=footer["stats"],
            cut=footer["cut"],
            rounds=tuple(self._rounds(stop_ns)),
        )

    def _stepped(self) -> list[dict[str, int | None]]:
        """The host's clocks each time that they were found to have left each other behind."""
        return [note["clocks"] for note in self._notes if "clocks" in note]

    def _contents(self, kind: int) -> Iterator[dict[str, Any]]:
        for frame in self._frames:
            if frame.kind == kind:
                yield from self._try(spool_reader.json_of, frame)

    def _told(self, kind: int, make: Callable[[dict[str, Any]], T]) -> list[T]:
        return [told for content in self._contents(kind) for told in self._try(make, content)]

    def _try(self, make: Callable[[Any], T], content: Any) -> list[T]:
        """What can be made of something; nothing if it is damaged, which is told."""
        try:
            return [make(content)]
        except ValueError as error:
            self._lack("sampler", "a note in the part", self._damaged(str(error)))
            return []

    def _damaged(self, how: str) -> str:
        return f"{os.path.basename(self.path)} is damaged ({how})"

    def _lack(self, backend: str, what: str, reason: str, domains: tuple[str, ...] = ()) -> None:
        self._damage[Missing(backend, what, reason, domains=domains)] = None

    def _by_stream(self, kind: int) -> dict[int, dict[int, bytes]]:
        """Payloads of a kind by stream and sequence number; of two with one number the last."""
        found: dict[int, dict[int, bytes]] = {}
        for frame in self._frames:
            if frame.kind == kind:
                found.setdefault(frame.stream, {})[frame.sequence] = frame.payload
        return found

    def _all_streams(self) -> list[Stream]:
        first: dict[int, Frame] = {}
        for frame in self._frames:
            if frame.kind == spool.STREAM:
                first.setdefault(frame.stream, frame)
        return [stream for frame in first.values() for stream in self._stream(frame)]

    def _without_rows(self, frame: Frame) -> Frame:
        """A frame; rows become part of their stream's columns at once, and are not held twice."""
        if frame.kind == spool.ROWS:
            self._rows_of(frame.stream).add(frame.sequence, frame.payload)
            return frame._replace(payload=b"")
        if frame.kind == spool.STREAM:
            with contextlib.suppress(ValueError):  # told later
                self._rows_of(frame.stream).have(sensors_of(spool_reader.json_of(frame)))
        return frame

    def _rows_of(self, stream: int) -> Rows:
        return self._rows.setdefault(stream, Rows())

    def _stream(self, frame: Frame) -> list[Stream]:
        rows = self._rows_of(frame.stream)
        try:
            stream = stream_of(spool_reader.json_of(frame), rows, self._inside)
        except ValueError as error:
            self._lack("sampler", "all that a backend has read", self._damaged(str(error)), domains=ADDED_DOMAINS)
            return []
        if rows.odd or rows.numbers != set(range(1, len(rows.numbers) + 1)):
            self._lack(stream.backend, f"some samples of {stream.backend}", self._damaged(_how_many(rows.numbers)))
        apart_ns = min(self._apart_ns, furthest_ns(stream.sensors))
        return [stream._replace(rank=self._header["rank"], apart_ns=apart_ns if apart_ns > stream.period_ns else 0)]

    def _last_ns(self) -> int:
        """Until when all streams tell of the host: a kill comes between the last sweeps of some and of others."""
        ends_ns = [int(stream.t1_ns[-1]) for stream in self._streams if len(stream.t1_ns)]
        latest_ns = max(ends_ns, default=self.clocks["monotonic_ns"])
        return min((end_ns for end_ns in ends_ns if end_ns > latest_ns - _TOGETHER_NS), default=latest_ns)

    def _region_calls(self, stop_ns: int) -> Iterable[RegionCalls]:
        for facts, rows in self._marks(spool.MARKS):
            yield from marked.region_calls(facts, rows, stop_ns)
        for facts, rows in self._marks(spool.ROUNDS):
            yield from marked.unmarked_rounds(facts, rows)

    def _rounds(self, stop_ns: int) -> Iterable[Rounds]:
        for facts, rows in self._marks(spool.ROUNDS):
            yield from marked.rounds(facts, rows, stop_ns)

    def _marks(self, kind: int) -> Iterable[tuple[dict[str, Any], bytes]]:
        """Facts about each process that left marks, and its rows of a kind.

        A sampler that could not keep all of them may have kept some: those are there again where somebody else has.
        """
        rows = self._by_stream(kind)
        kept = {(note["marks"]["rank"], note["number"]): note["marks"] for note in self._notes if "marks" in note}
        for (rank, number), facts in kept.items():
            yield facts, rows.get(rank, {}).get(number, b"")

    def _left_behind(self) -> list[dict[str, Any]]:
        """Take in what its killed sampler had on this host: rows, and marks and notes of the ranks; those notes."""
        local, gone = self._header["local"], set[int]()
        if is_local_directory(local):
            self._frames += [self._without_rows(frame) for frame in tails_left(self._frames, local, gone)]
        for stream in gone:
            self._lack("sampler", "the newest samples", f"tail-{stream} in {local} was deleted or is damaged")
        marks = self._header["marks"] or ("" if "marks" in self._header else local)
        return self._marks_left(marks) if is_local_directory(marks) else []

    def _marks_left(self, local: str) -> list[dict[str, Any]]:
        """What the application's processes have marked and noted."""
        notes: list[dict[str, Any]] = []
        for rank, note in read_notes(local).items():
            notes += frames_of_note(note)
            if "run" in note:
                notes.append(run_of_note(rank, note))
        for rank in ranks_in(local):
            for number, (facts, calls, rounds) in enumerate(collect(os.path.join(local, str(rank)), rank)):
                notes.append({"marks": facts, "number": number})
                self._frames.append(Frame(spool.MARKS, rank, number, calls))
                self._frames.append(Frame(spool.ROUNDS, rank, number, rounds))
        return notes


def _how_many(numbers: set[int]) -> str:
    """How many of the pieces in which a sampler has written are there."""
    last = max(numbers, default=0)
    return f"{last - len(numbers):,} of {last:,} pieces can't be read" if last > len(numbers) else "not all can be read"


def _note(content: Mapping[str, Any]) -> dict[str, Any]:
    """A note, with what this version knows of it."""
    note: dict[str, Any] = {}
    if "process" in content:
        facts = known.mapping(content, "process")
        note["process"] = known.process({"host": "", **facts}), "stop_ns" in facts
    if "missing" in content:
        note["missing"] = [known.missing(entry) for entry in known.listed(content, "missing", dict)]
    if "function" in content:
        place = known.text(content, "place") if known.has(content, "place") else None
        note |= {"function": known.text(content, "function"), "place": place}
    if "clocks" in content:
        note["clocks"] = known.clocks(known.mapping(content, "clocks"))
    if "apart_ns" in content:
        note["apart_ns"] = known.integer(content, "apart_ns", high=known.LAST_NS)
    if "inside" in content:
        note["inside"] = known.listed(content, "inside", str)
    if "gpus_of_rank" in content:
        note["gpus_of_rank"] = known.integer(content, "gpus_of_rank", high=known.MOST_RANKS)
        note["gpus"] = known.listed(content, "gpus", str)
    if "run" in content:
        note["run"], note["rank"] = _run(known.mapping(content, "run")), known.integer(content, "rank")
    if "marks" in content:
        note["marks"] = marked.marks_facts(known.mapping(content, "marks"))
        note["number"] = known.integer(content, "number")
    return note


def _footer(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stats": known.stats(known.mapping(content, "stats")),
        "clocks": known.clocks(known.mapping(content, "clocks")) if known.has(content, "clocks") else None,
        "cut": known.text(content, "cut") if known.has(content, "cut") else None,
    }
