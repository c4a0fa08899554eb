"""Reading a spool: the frames of a part and the rows of a tail, whatever has happened to them.

How they are laid out is told in :mod:`perun_like.sampling.spool`. The sampler, which writes them, needs none of this.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from perun_like.errors import FileError
from perun_like.sampling.distrust import open_plain, parse_object
from perun_like.sampling.spool import FOOTER, FRAME_HEAD, FRAME_MAGIC, HEAD_WORDS, TAIL_MAGIC, WORD_BYTES

_LONGEST_FOOTER = 1 << 18
_LARGEST_FRAME = 1 << 30
_MOST_HOLES = 1 << 28  # what isn't there costs no disk, but time to search and memory to hold
_MOST_COMPRESSED = 100  # times: more than file systems do
_PIECE = 1 << 20
_MOST_READINGS = 4  # of each byte: damage costs one more, a file made to keep us busy thousands


class Frame(NamedTuple):
    """One checked piece of a part file."""

    kind: int
    stream: int
    sequence: int
    payload: bytes


def frames(path: str, until_b: int | None = None) -> Iterator[Frame]:
    """The good frames of a part file, or of so much of its beginning.

    A sampler that was killed leaves a torn last frame, and a disk may damage any: those are passed over. It is read,
    not mapped: whoever truncates the file meanwhile must not end us by a SIGBUS.

    Raises:
        OSError: it can't be read, or is a link, a pipe or the like.
        FileError: it isn't a part, or has more damage than chance can do.
    """
    with open_plain(path) as file:
        fd = file.fileno()
        size, there_b = os.fstat(fd).st_size, _there_b(fd)
        if size > _MOST_HOLES + _MOST_COMPRESSED * there_b:
            raise FileError(
                f"{path} is no part, or is damaged: of the {size:,} bytes that it says, {there_b:,} are there"
            )
        size = size if until_b is None else min(size, until_b)
        at, left_b = _find_magic(fd, 0, size), _MOST_READINGS * size
        while at >= 0:
            frame, read_b = _frame_at(fd, at, size)
            if frame is not None:
                yield frame
            elif (left_b := left_b - read_b) < 0:
                raise FileError(f"{path} is damaged from its byte {at} on; what is before that can be read")
            at = _find_magic(fd, at + (1 if frame is None else read_b), size)


def _there_b(fd: int) -> int:
    """How many bytes of a file are there.

    Some file systems count blocks late or not at all: what is no hole counts too. Others know no holes: what they have
    counted is all there is, if they count.
    """
    status = os.fstat(fd)
    counted_b, size = 512 * status.st_blocks, status.st_size
    if _MOST_COMPRESSED * counted_b > size:
        return counted_b
    data_b = _data_b(fd, size)
    return max(counted_b, data_b) if data_b < size or not counted_b else counted_b


def _data_b(fd: int, size: int) -> int:
    data_b = at = 0
    try:
        while at < size:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, start, os.SEEK_HOLE)
            data_b += at - start
    except OSError as error:
        return data_b if error.errno == errno.ENXIO else size  # it ends with a hole; or nobody can tell
    return data_b


def footer(path: str) -> dict[str, Any] | None:
    """What a part's last frame says; None while the part isn't complete, or if it isn't one."""
    try:
        with open_plain(path) as file:
            fd, size = file.fileno(), os.fstat(file.fileno()).st_size
            start = max(0, size - _LONGEST_FOOTER)
            end = os.pread(fd, _LONGEST_FOOTER, start)
            at = len(end)
            while (at := end.rfind(FRAME_MAGIC, 0, at)) >= 0:
                if _ends_with(end, at) and (frame := _frame_at(fd, start + at, size)[0]) is not None:
                    return _footer_of(frame) if frame.kind == FOOTER else None
    except (OSError, ValueError):
        pass
    return None


def json_of(frame: Frame) -> dict[str, Any]:
    """The JSON object in a frame.

    Raises:
        ValueError: there is none, or one that nobody can have meant.
    """
    return parse_object(frame.payload)


def _footer_of(frame: Frame) -> dict[str, Any]:
    content = json_of(frame)
    ranks = content.get("ranks", [])
    if not isinstance(ranks, list) or not all(type(rank) is int for rank in ranks):
        raise ValueError("its ranks are none")
    return content


def _ends_with(end: bytes, at: int) -> bool:
    """Whether a frame at a place would end where everything does."""
    head = end[at : at + FRAME_HEAD.size]
    return len(head) == FRAME_HEAD.size and FRAME_HEAD.unpack(head)[5] == len(end) - at - FRAME_HEAD.size


def _find_magic(fd: int, at: int, size: int) -> int:
    """Where the next frame may begin; -1 if none does."""
    while at < size:
        piece = os.pread(fd, len(FRAME_MAGIC), at)  # right there, most often
        if piece != FRAME_MAGIC:
            piece = os.pread(fd, _PIECE, at)
        found = piece.find(FRAME_MAGIC)
        if found >= 0:
            return at + found
        if len(piece) < len(FRAME_MAGIC):
            break
        at += len(piece) - len(FRAME_MAGIC) + 1
    return -1


def _frame_at(fd: int, at: int, size: int) -> tuple[Frame | None, int]:
    """The frame at a place, None if what is there is torn, damaged or no frame; and how many bytes were looked at."""
    head = os.pread(fd, FRAME_HEAD.size, at)
    if len(head) < FRAME_HEAD.size:
        return None, len(head)
    magic, kind, stream, crc, sequence, length = FRAME_HEAD.unpack(head)
    if length > min(size - at - FRAME_HEAD.size, _LARGEST_FRAME):
        return None, FRAME_HEAD.size
    payload = os.pread(fd, length, at + FRAME_HEAD.size)
    found = zlib.crc32(payload, zlib.crc32(FRAME_HEAD.pack(magic, kind, stream, 0, sequence, length)))
    good = found == crc and len(payload) == length
    return Frame(kind, stream, sequence, payload) if good else None, FRAME_HEAD.size + len(payload)


def tail_segments(path: str) -> list[tuple[int, bytes]]:
    """Sequence number and rows of each segment of a tail left behind, oldest first.

    Raises:
        OSError: there is no such file, or it is a link, a pipe or the like.
        FileError: the file isn't a tail.
    """
    with open_plain(path) as file:
        half = os.fstat(file.fileno()).st_size // 2
        segments = [_segment(file.fileno(), base, half, path) for base in (0, half)] if half else []
    return sorted((sequence, rows) for sequence, rows in segments if rows)


def _segment(fd: int, base: int, size: int, path: str) -> tuple[int, bytes]:
    head = os.pread(fd, HEAD_WORDS * WORD_BYTES, base)
    magic, sequence, used = struct.unpack("<3q", head) if len(head) == HEAD_WORDS * WORD_BYTES else (-1, 0, 0)
    if magic not in (TAIL_MAGIC, 0) or not 0 <= used * WORD_BYTES <= min(size, _LARGEST_FRAME):
        raise FileError(f"{path} is damaged, or was not written by a perun_like sampler")
    return sequence, os.pread(fd, max(used - HEAD_WORDS, 0) * WORD_BYTES, base + HEAD_WORDS * WORD_BYTES)
