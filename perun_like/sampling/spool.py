"""The spool: what a sampler writes so that whatever dies, the samples survive.

Two places:

* A **tail** per stream, a small mapped file on host-local memory. Each sweep is one row of int64 words; a row counts
  once its number has been stored, so that killing the process at any instruction loses at most the row being written.
* The **part**, one file per host in the run's directory. Every 30 s the tails are moved to its end as **frames**, each
  with a checksum, so that losing the whole host loses at most that.

Layout of a frame, little-endian: ``magic[4] kind[u32] stream[u32] crc32[u32] sequence[u64] length[u64]`` and then
``length`` bytes. The checksum covers everything else in the frame.

Layout of a tail: two segments, used in turn, each of three words ``magic sequence used`` and then rows. A segment whose
sequence number is in the part already has been moved.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple

from perun_like.errors import FileError

HEADER, STREAM, ROWS, MARKS, NOTE, FOOTER, ROUNDS = range(1, 8)
MASK_BITS = 63  # sensors whose validity fits in one signed word

_FRAME_MAGIC = b"PRF1"
_FRAME = struct.Struct("<4sIIIQQ")
_TAIL_MAGIC = 0x314C49415450  # "PTAIL1" read as a little-endian word
_MAGIC, _SEQUENCE, _USED, _HEAD = range(4)
_WORD_BYTES = 8
_LONGEST_FOOTER = 1 << 18


class Frame(NamedTuple):
    """One checked piece of a part file."""

    kind: int
    stream: int
    sequence: int
    payload: bytes


def mask_words(sensors: int) -> int:
    """How many words of a row hold the validity of ``sensors`` reads."""
    return max(1, -(-sensors // MASK_BITS))


def row_words(sensors: int) -> int:
    """Words of a row: t0, t1, validity, one value a sensor."""
    return 2 + mask_words(sensors) + sensors


class Tail:
    """The newest rows of one stream, in a mapped file: one writer, one mover.

    Args:
        path: The file to create; its directory is host-local.
        sensors: How many values a row has.
        rows: How many rows a segment must hold.
    """

    def __init__(self, path: str, sensors: int, rows: int) -> None:
        words = row_words(sensors)
        segment_bytes = -(-(_HEAD + rows * words) * _WORD_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._row_words = words
        self._capacity = segment_bytes // _WORD_BYTES
        self._map = _create_mapping(path, 2 * segment_bytes)
        self._words = memoryview(self._map).cast("q")
        self._pack = struct.Struct(f"<{words}q").pack_into
        self._all_valid = validity([0] * sensors)
        self._lock = Lock()
        self._base = self._used = self._sequence = 0
        self._open(0)

    def append(self, t0_ns: int, t1_ns: int, values: Sequence[int | None]) -> bool:
        """Add a sweep; False when there was no room because the mover has fallen behind."""
        valid = self._all_valid
        if None in values:
            valid = validity(values)
            values = [0 if value is None else value for value in values]
        with self._lock:
            if self._used + self._row_words > self._capacity:
                if self._words[self._other() + _USED]:
                    return False
                self._open(self._other())
            start = self._base + self._used
            self._pack(self._map, start * _WORD_BYTES, t0_ns, t1_ns, *valid, *values)
            self._used += self._row_words
            self._words[self._base + _USED] = self._used
        return True

    def take(self) -> tuple[int, bytes] | None:
        """The sequence number and bytes of rows not moved yet, oldest first; None if there are none.

        The rows stay readable in the file until ``moved`` is called.
        """
        with self._lock:
            if not self._words[self._other() + _USED]:
                if self._used == _HEAD:
                    return None
                self._open(self._other())
            full = self._other()
        sequence, end = self._words[full + _SEQUENCE], full + self._words[full + _USED]
        return sequence, bytes(self._map[(full + _HEAD) * _WORD_BYTES : end * _WORD_BYTES])

    def moved(self) -> None:
        """The rows taken last are safe in the part: their segment is free again."""
        self._words[self._other() + _USED] = 0

    def _other(self) -> int:
        return self._capacity - self._base

    def _open(self, base: int) -> None:
        self._base, self._used = base, _HEAD
        self._sequence += 1
        self._words[base + _USED] = 0
        self._words[base + _MAGIC] = _TAIL_MAGIC
        self._words[base + _SEQUENCE] = self._sequence
        self._words[base + _USED] = _HEAD


def _create_mapping(path: str, size: int) -> mmap.mmap:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # A mapped page that the disk has no room for would be a SIGBUS; allocating says so here instead.
        os.posix_fallocate(fd, 0, size)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)


def validity(values: Sequence[int | None]) -> tuple[int, ...]:
    """The words of a row that say which reads succeeded: one bit a sensor, 63 a word."""
    firsts = range(0, max(1, len(values)), MASK_BITS)
    return tuple(
        sum(1 << bit for bit, value in enumerate(values[first : first + MASK_BITS]) if value is not None)
        for first in firsts
    )


def tail_segments(path: str) -> list[tuple[int, bytes]]:
    """Sequence number and rows of each segment of a tail left behind, oldest first.

    Raises:
        FileError: the file isn't a tail.
    """
    with open(path, "rb") as file:
        content = file.read()
    half = len(content) // 2
    segments: list[tuple[int, bytes]] = []
    for base in (0, half):
        magic, sequence, used = struct.unpack_from("<3q", content, base) if half else (0, 0, 0)
        if magic not in (_TAIL_MAGIC, 0) or not 0 <= used * _WORD_BYTES <= half:
            raise FileError(f"{path} is damaged, or was not written by a perun_like sampler")
        if used > _HEAD:
            segments.append((sequence, content[base + _HEAD * _WORD_BYTES : base + used * _WORD_BYTES]))
    return sorted(segments)


class Part:
    """A host's part of a run, appended to by its one sampler."""

    def __init__(self, path: str, *, again: bool = False) -> None:
        """Create the file, or go on with that of a sampler that was killed.

        Raises:
            FileExistsError: another sampler writes this part.
            OSError: the directory can't be written.
        """
        self.path = path
        new = 0 if again else os.O_CREAT | os.O_EXCL
        self._fd = os.open(path, os.O_WRONLY | new | os.O_APPEND | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # a file system without locks: readers then can't tell that we live
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def write(self, kind: int, payload: bytes, stream: int = 0, sequence: int = 0) -> None:
        """Append one frame."""
        head = _FRAME.pack(_FRAME_MAGIC, kind, stream, 0, sequence, len(payload))
        crc = zlib.crc32(payload, zlib.crc32(head))
        frame = memoryview(_FRAME.pack(_FRAME_MAGIC, kind, stream, crc, sequence, len(payload)) + payload)
        end = os.fstat(self._fd).st_size
        try:
            while frame:
                frame = frame[os.write(self._fd, frame) :]
        except OSError:
            os.ftruncate(self._fd, end)  # a torn frame would hide all that come after it
            raise

    def write_json(self, kind: int, content: dict[str, Any], stream: int = 0) -> None:
        """Append one frame that holds a JSON object."""
        self.write(kind, json.dumps(content, separators=(",", ":")).encode(), stream)

    def move(self, stream: int, tail: Tail) -> None:
        """Append what a tail holds and free it."""
        while (taken := tail.take()) is not None:
            sequence, rows = taken
            self.write(ROWS, rows, stream, sequence)
            tail.moved()

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def frames(path: str) -> Iterator[Frame]:
    """The good frames of a part file.

    A sampler that was killed leaves a torn last frame, and a disk may damage any: those are passed over.
    """
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            at = content.find(_FRAME_MAGIC)
            while at >= 0:
                frame = _frame_at(content, at)
                if frame is not None:
                    yield frame
                end = at + 1 if frame is None else at + _FRAME.size + len(frame.payload)
                at = content.find(_FRAME_MAGIC, end)


def footer(path: str) -> dict[str, Any] | None:
    """What a part's last frame says; None while the part isn't complete, or if it isn't one."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST_FOOTER))
            end = file.read()
    except OSError:
        return None
    at = end.rfind(_FRAME_MAGIC)
    frame = _frame_at(end, at) if at >= 0 else None
    if frame is None or frame.kind != FOOTER:
        return None
    content: dict[str, Any] = json.loads(frame.payload)
    return content


def _frame_at(content: mmap.mmap | bytes, at: int) -> Frame | None:
    """The frame at a place; None if what is there is torn, damaged or no frame."""
    if at + _FRAME.size > len(content):
        return None
    magic, kind, stream, crc, sequence, length = _FRAME.unpack_from(content, at)
    if at + _FRAME.size + length > len(content):
        return None
    payload = content[at + _FRAME.size : at + _FRAME.size + length]
    head = _FRAME.pack(magic, kind, stream, 0, sequence, length)
    return Frame(kind, stream, sequence, payload) if zlib.crc32(payload, zlib.crc32(head)) == crc else None
