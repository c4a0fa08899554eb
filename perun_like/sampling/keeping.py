"""What goes into a part beside samples when it is completed, by its sampler or in the place of one that was killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any

from perun_like.errors import FileError
from perun_like.sampling import spool
from perun_like.sampling.host import clock_error_ns, clocks
from perun_like.sampling.local import is_of_part
from perun_like.sampling.ranks import ranks_in, read_notes
from perun_like.sampling.spool import FOOTER, HEADER, MARKS, NOTE, ROUNDS, ROWS, STREAM, Frame, Part

KILLED = "the sampling process was killed"
_STEP_NS = 50_000_000  # two clocks can't be read at one instant, and real time is always trimmed a little


def keep_marks(part: Part, directory: str) -> None:
    """What the processes of each rank have marked."""
    from perun_like.sampling.collecting import collect  # 2 ms that only the end needs

    for rank in ranks_in(directory):
        for number, (facts, calls, rounds) in enumerate(collect(os.path.join(directory, str(rank)), rank)):
            part.write_json(NOTE, {"marks": facts, "number": number})
            part.write(MARKS, calls, stream=rank, sequence=number)
            part.write(ROUNDS, rounds, stream=rank, sequence=number)


def frames_of_note(note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a rank has noted, as the monitor of a single process would have told it."""
    told: list[dict[str, Any]] = [{"function": name, "place": at} for name, at in note.get("functions", {}).items()]
    if "process" in note:
        told.append({"process": note["process"]})
    return told


def run_of_note(rank: int, note: Mapping[str, Any]) -> dict[str, Any]:
    """What a rank would call the run: that of the first rank counts."""
    return {"run": note["run"], "rank": rank}


class Notes:
    """The notes of a host's ranks as they come: each is kept once, and again when it has changed."""

    def __init__(self, part: Part, run: str) -> None:
        self._part, self._run = part, run
        self._kept: dict[int, dict[str, Any]] = {}
        self._first_rank: int | None = None

    def keep(self) -> None:
        """Keep those that are new."""
        for rank, note in read_notes(self._run).items():
            if note != self._kept.get(rank):
                self._kept[rank] = note
                for told in frames_of_note(note):
                    self._part.write_json(NOTE, told)
            if "run" in note and (self._first_rank is None or rank < self._first_rank):
                self._first_rank = rank
                self._part.write_json(NOTE, run_of_note(rank, note))

    @property
    def ranks(self) -> list[int]:
        """Ranks of which any were kept."""
        return list(self._kept)

    @property
    def any_ran(self) -> bool:
        """Whether any of them has started its application."""
        return any("process" in note for note in self._kept.values())


class Clocks:
    """Keeps what the host's clocks show each time that one of them has left the others behind.

    Real time may be set, and CLOCK_MONOTONIC stands still while the machine is suspended. Whoever kills the sampler
    later can't take that back.

    Args:
        part: Where it is kept.
        read: Reads the clocks.
        read_error: Reads how far real time may be off; None where nobody knows.

    Attributes:
        begin: What they showed at the beginning.
    """

    def __init__(
        self,
        part: Part,
        read: Callable[[], dict[str, int]] = clocks,
        read_error: Callable[[], int | None] = clock_error_ns,
    ) -> None:
        self._part, self._read, self._read_error = part, read, read_error
        self.begin = self._kept = read()

    def keep(self) -> None:
        """Keep what they show now, if it isn't what was to be expected."""
        now = self._read()
        passed_ns = [now[name] - then_ns for name, then_ns in self._kept.items()]
        if max(passed_ns) - min(passed_ns) > _STEP_NS:
            self._part.write_json(NOTE, {"clocks": now})
            self._kept = now

    def keep_error(self) -> None:
        """Keep what they show now and how far real time may be off."""
        self._part.write_json(NOTE, {"clocks": self._with_error()})

    def end(self, *, error: bool = False) -> dict[str, int | None]:
        """What they show at the end, and if asked for how far real time may be off."""
        return self._with_error() if error else {**self._read()}

    def _with_error(self) -> dict[str, int | None]:
        return {**self._read(), "error_ns": self._read_error()}


def tails_left(frames: list[Frame], local: str, gone: set[int] | None = None) -> list[Frame]:
    """Rows that a killed sampler had not moved to its part yet, if this is its host.

    Args:
        frames: Of its part.
        local: Its directory on its host.
        gone: The numbers of streams whose newest rows are damaged, or have been deleted, are added to it.
    """
    moved: dict[int, int] = {}
    for frame in frames:
        if frame.kind == ROWS:
            moved[frame.stream] = max(frame.sequence, moved.get(frame.stream, 0))
    found: list[Frame] = []
    for stream in dict.fromkeys(frame.stream for frame in frames if frame.kind == STREAM):
        try:
            segments = spool.tail_segments(os.path.join(local, f"tail-{stream}"))
        except (OSError, FileError):
            segments = []
            if gone is not None:
                gone.add(stream)
        newer = [(sequence, rows) for sequence, rows in segments if sequence > moved.get(stream, 0)]
        found += [Frame(ROWS, stream, sequence, rows) for sequence, rows in newer]
    return found


def part_of(local: str, path: str) -> str:
    """Where the part of a sampler of this host is: beside its place, if something else was there.

    Args:
        local: The sampler's directory on this host.
        path: The part's place.
    """
    from perun_like.sampling.restoring import places  # what only the end needs

    there = [place for place in places(path) if os.path.lexists(place)]
    for place in there:
        if is_of_part(local, place):
            return place
    copies = [place for place in there if _is_copy_of(local, place)]  # the part itself was removed, or moved away
    return max(copies, key=os.path.getsize, default=path)


def _is_copy_of(local: str, path: str) -> bool:
    """Whether what is at a path was written by a sampler."""
    with suppress(OSError, FileError, ValueError):
        first = next(spool.frames(path), None)
        return first is not None and first.kind == HEADER and spool.json_of(first).get("local") == local
    return False


def complete(path: str, local: str, run: str | None) -> None:
    """Complete the part of a sampler of this host that was killed, with what it left; nothing if it is complete.

    Args:
        path: The part.
        local: The sampler's directory on this host.
        run: The directory of the run on this host if the ranks' marks and notes are to be kept in this part.

    Raises:
        OSError: it can't be written.
        FileError: it isn't a part.
    """
    frames = [frame._replace(payload=b"") for frame in spool.frames(path)]  # a part may be larger than memory
    if not frames or frames[0].kind != HEADER or frames[-1].kind == FOOTER:
        return
    with closing(Part(path, again=True)) as part:
        for frame in tails_left(frames, local):
            part.write(ROWS, frame.payload, frame.stream, frame.sequence)
        ranks: list[int] = []
        if run is not None:
            keep_marks(part, run)
            notes = Notes(part, run)
            notes.keep()
            ranks = notes.ranks
        # What the clocks show now says nothing of the time until the sampler was killed.
        part.write_json(FOOTER, {"stats": {}, "clocks": None, "cut": KILLED, "ranks": ranks})
        part.sync()
