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

Both are written here, and read by :mod:`perun_like.sampling.spool_reader`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

HEADER, STREAM, ROWS, MARKS, NOTE, FOOTER, ROUNDS = range(1, 8)
MASK_BITS = 63  # sensors whose validity fits in one signed word

FRAME_MAGIC = b"PRF1"
FRAME_HEAD = struct.Struct("<4sIIIQQ")
TAIL_MAGIC = 0x314C49415450  # "PTAIL1" read as a little-endian word
WORD_BYTES = 8
_MAGIC, _SEQUENCE, _USED, HEAD_WORDS = range(4)
_PIECE = 1 << 20


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
        segment_bytes = -(-(HEAD_WORDS + rows * words) * WORD_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._row_words = words
        self._capacity = segment_bytes // WORD_BYTES
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
            self._pack(self._map, start * WORD_BYTES, t0_ns, t1_ns, *valid, *values)
            self._used += self._row_words
            self._words[self._base + _USED] = self._used
        return True

    def take(self) -> tuple[int, memoryview] | None:
        """The sequence number and bytes of rows not moved yet, oldest first; None if there are none.

        The rows stay where they are, in the file, until ``moved`` is called.
        """
        with self._lock:
            if not self._words[self._other() + _USED]:
                if self._used == HEAD_WORDS:
                    return None
                self._open(self._other())
            full = self._other()
        sequence, end = self._words[full + _SEQUENCE], full + self._words[full + _USED]
        return sequence, memoryview(self._map)[(full + HEAD_WORDS) * WORD_BYTES : end * WORD_BYTES]

    def moved(self) -> None:
        """The rows taken last are safe in the part: their segment is free again."""
        self._words[self._other() + _USED] = 0

    def _other(self) -> int:
        return self._capacity - self._base

    def _open(self, base: int) -> None:
        self._base, self._used = base, HEAD_WORDS
        self._sequence += 1
        self._words[base + _USED] = 0
        self._words[base + _MAGIC] = TAIL_MAGIC
        self._words[base + _SEQUENCE] = self._sequence
        self._words[base + _USED] = HEAD_WORDS


def _create_mapping(path: str, size: int) -> mmap.mmap:
    # Read-only for all who open it by name: who truncates it would have us ended by SIGBUS.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        # A mapped page that the disk has no room for would be a SIGBUS; allocating says so here instead.
        os.posix_fallocate(fd, 0, size)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)


def validity(values: Sequence[int | None]) -> list[int]:
    """The words of a row that say which reads succeeded: one bit a sensor, 63 a word."""
    firsts = range(0, max(1, len(values)), MASK_BITS)
    return [
        sum(1 << bit for bit, value in enumerate(values[first : first + MASK_BITS]) if value is not None)
        for first in firsts
    ]


class Part:
    """A host's part of a run, appended to by its one sampler."""

    def __init__(self, path: str, *, again: bool = False) -> None:
        """Create the file, or go on with that of a sampler that was killed.

        Raises:
            FileExistsError: another sampler writes this part.
            OSError: the directory can't be written.
        """
        self.path = path
        self._fd = _open_part(path, 0 if again else os.O_CREAT | os.O_EXCL)

    def restore(self) -> None:
        """Have the file in its place, if it has been removed or moved away meanwhile, with its directory perhaps.

        What others have put there stays: the part is beside it then, and has another path.

        Raises:
            OSError: it can't be made again; what was written is only where it was.
        """
        if is_at(self._fd, self.path):
            return
        from perun_like.sampling.restoring import placed_again  # hardly any run needs it

        self._fd, self.path = placed_again(self._fd, self.path, _open_part)

    def write(self, kind: int, payload: bytes | memoryview, stream: int = 0, sequence: int = 0) -> None:
        """Append one frame."""
        head = FRAME_HEAD.pack(FRAME_MAGIC, kind, stream, 0, sequence, len(payload))
        crc = zlib.crc32(payload, zlib.crc32(head))
        head = FRAME_HEAD.pack(FRAME_MAGIC, kind, stream, crc, sequence, len(payload))
        end = os.fstat(self._fd).st_size
        try:
            write_all(self._fd, head, payload)
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

    def fileno(self) -> int:
        """The descriptor of the file that it is by now."""
        return self._fd

    @property
    def size_b(self) -> int:
        """How large it is by now."""
        return os.fstat(self._fd).st_size

    def become(self, path: str, since_b: int) -> None:
        """Go on in another file that stands for the beginning of this one, and put it in this one's place.

        A kill at any moment leaves one of the two where this one was, whole.

        Args:
            path: The file, in the same directory and synced.
            since_b: Where what it doesn't stand for begins in this one.

        Raises:
            OSError: it can't be done, or something else is in this one's place; this one is as it was.
        """
        if not is_at(self._fd, self.path):
            raise FileExistsError(errno.EEXIST, "something else is in the part's place", self.path)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for piece in pieces(self._fd, since_b):
                write_all(fd, piece)
            os.fdatasync(fd)
            os.rename(path, self.path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _open_part(path: str, flags: int) -> int:
    fd = os.open(path, os.O_RDWR | flags | os.O_APPEND | os.O_CLOEXEC, 0o666)
    with contextlib.suppress(OSError):  # a file system without locks: readers then can't tell that we live
        fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def write_all(fd: int, *contents: bytes | memoryview) -> None:
    """Write all of it: where room ends in its midst the kernel takes a piece and only refuses the next one.

    Raises:
        OSError: it can't be written; a piece of it may have been.
    """
    left = [memoryview(content) for content in contents if content]
    while left:
        written = os.writev(fd, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left:
            left[0] = left[0][written:]


def pieces(fd: int, since_b: int) -> Iterator[bytes]:
    """What an open file has from a place on, whatever is by now where it was.

    Raises:
        OSError: it can't be read.
    """
    while piece := os.pread(fd, _PIECE, since_b):
        yield piece
        since_b += len(piece)


def is_at(fd: int, path: str) -> bool:
    """Whether an open file has this name.

    Raises:
        OSError: nobody lets us know.
    """
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False
