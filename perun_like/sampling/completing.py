"""Completing the part of a sampler that was killed, with what it has left on its host."""

from __future__ import annotations

import os
from contextlib import closing, suppress

from perun_like.errors import FileError
from perun_like.sampling import spool_reader
from perun_like.sampling.keeping import Notes, keep_marks
from perun_like.sampling.local import is_of_part
from perun_like.sampling.spool import FOOTER, HEADER, ROWS, STREAM, Part
from perun_like.sampling.spool_reader import Frame

KILLED = "the sampling process was killed"


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
            segments = spool_reader.tail_segments(os.path.join(local, f"tail-{stream}"))
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
        first = next(spool_reader.frames(path), None)
        return first is not None and first.kind == HEADER and spool_reader.json_of(first).get("local") == local
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
    frames = [frame._replace(payload=b"") for frame in spool_reader.frames(path)]  # a part may be larger than memory
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
