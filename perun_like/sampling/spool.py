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
import errno
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
from perun_like.sampling.distrust import open_plain, parse_object

HEADER, STREAM, ROWS, MARKS, NOTE, FOOTER, ROUNDS = range(1, 8)
MASK_BITS = 63  # sensors whose validity fits in one signed word

_FRAME_MAGIC = b"PRF1"
_FRAME = struct.Struct("<4sIIIQQ")
_TAIL_MAGIC = 0x314C49415450  # "PTAIL1" read as a little-endian word
_MAGIC, _SEQUENCE, _USED, _HEAD = range(4)
_WORD_BYTES = 8
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
    # Read-only for all who open it by name: who truncates it would have us ended by SIGBUS.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
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
        OSError: there is no such file, or it is a link, a pipe or the like.
        FileError: the file isn't a tail.
    """
    with open_plain(path) as file:
        half = os.fstat(file.fileno()).st_size // 2
        segments = [_segment(file.fileno(), base, half, path) for base in (0, half)] if half else []
    return sorted((sequence, rows) for sequence, rows in segments if rows)


def _segment(fd: int, base: int, size: int, path: str) -> tuple[int, bytes]:
    head = os.pread(fd, _HEAD * _WORD_BYTES, base)
    magic, sequence, used = struct.unpack("<3q", head) if len(head) == _HEAD * _WORD_BYTES else (-1, 0, 0)
    if magic not in (_TAIL_MAGIC, 0) or not 0 <= used * _WORD_BYTES <= min(size, _LARGEST_FRAME):
        raise FileError(f"{path} is damaged, or was not written by a perun_like sampler")
    return sequence, os.pread(fd, max(used - _HEAD, 0) * _WORD_BYTES, base + _HEAD * _WORD_BYTES)


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

    def write(self, kind: int, payload: bytes, stream: int = 0, sequence: int = 0) -> None:
        """Append one frame."""
        head = _FRAME.pack(_FRAME_MAGIC, kind, stream, 0, sequence, len(payload))
        crc = zlib.crc32(payload, zlib.crc32(head))
        frame = _FRAME.pack(_FRAME_MAGIC, kind, stream, crc, sequence, len(payload)) + payload
        end = os.fstat(self._fd).st_size
        try:
            write_all(self._fd, frame)
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


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write all of it: where room ends in its midst the kernel takes a piece and only refuses the next one.

    Raises:
        OSError: it can't be written; a piece of it may have been.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]


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
            while (at := end.rfind(_FRAME_MAGIC, 0, at)) >= 0:
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
    head = end[at : at + _FRAME.size]
    return len(head) == _FRAME.size and _FRAME.unpack(head)[5] == len(end) - at - _FRAME.size


def _find_magic(fd: int, at: int, size: int) -> int:
    """Where the next frame may begin; -1 if none does."""
    while at < size:
        piece = os.pread(fd, len(_FRAME_MAGIC), at)  # right there, most often
        if piece != _FRAME_MAGIC:
            piece = os.pread(fd, _PIECE, at)
        found = piece.find(_FRAME_MAGIC)
        if found >= 0:
            return at + found
        if len(piece) < len(_FRAME_MAGIC):
            break
        at += len(piece) - len(_FRAME_MAGIC) + 1
    return -1


def _frame_at(fd: int, at: int, size: int) -> tuple[Frame | None, int]:
    """The frame at a place, None if what is there is torn, damaged or no frame; and how many bytes were looked at."""
    head = os.pread(fd, _FRAME.size, at)
    if len(head) < _FRAME.size:
        return None, len(head)
    magic, kind, stream, crc, sequence, length = _FRAME.unpack(head)
    if length > min(size - at - _FRAME.size, _LARGEST_FRAME):
        return None, _FRAME.size
    payload = os.pread(fd, length, at + _FRAME.size)
    found = zlib.crc32(payload, zlib.crc32(_FRAME.pack(magic, kind, stream, 0, sequence, length)))
    good = found == crc and len(payload) == length
    return Frame(kind, stream, sequence, payload) if good else None, _FRAME.size + len(payload)
