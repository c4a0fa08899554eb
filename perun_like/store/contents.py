"""Where in a results file each dataset is, with a checksum: so that of a damaged file what is unharmed can be told.

It stands between HDF5's own end of the file and the seal. A damaged file is looked at by it alone, as HDF5 trusts its
input. See ``docs/file_format.md``.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from perun_like.sampling.distrust import open_plain, parse_object
from perun_like.store.facts import integer
from perun_like.store.schema import SEAL_BYTES, TREE

_MAGIC = b"perun-like contents "
_HEAD_BYTES = len(_MAGIC) + 17  # the length of what follows and its checksum, eight hexadecimal digits each
_MOST_TEXT_BYTES = 1 << 26
_PIECE = 1 << 16

Pieces = Sequence[tuple[int, int, int]]  # offset, bytes, CRC-32


class Contents(NamedTuple):
    """Which datasets of a file are as they were written, and which are not."""

    whole: tuple[str, ...]
    damaged: tuple[str, ...]


def contents_of(datasets: Iterable[tuple[str, Any]], image: bytes) -> bytes:
    """The contents of an HDF5 file, to stand behind it.

    Args:
        datasets: Names and low-level identifiers of all in it.
        image: Its bytes.
    """
    known = {name: _pieces(dataset, image) for name, dataset in datasets}
    text = json.dumps(known, separators=(",", ":")).encode()
    return _MAGIC + b"%08x %08x" % (len(text), zlib.crc32(text)) + text


def _pieces(dataset: Any, image: bytes) -> Pieces:
    offset = dataset.get_offset()
    if offset is not None:
        places = [(offset, dataset.get_storage_size())]
    elif dataset.get_storage_size():
        chunks = [dataset.get_chunk_info(number) for number in range(dataset.get_num_chunks())]
        places = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    else:
        places = []
    return [(offset, size, zlib.crc32(image[offset : offset + size])) for offset, size in places]


def look(path: str) -> Contents | None:
    """What of a file is unharmed; None if that can't be told, as it has been cut or has never said what it holds.

    Raises:
        OSError: it can't be read.
    """
    with open_plain(path) as file:
        known = _known(file)
        if known is None:
            return None
        whole = {name for name, pieces in known.items() if all(_is_whole(file, *piece) for piece in pieces)}
        told = (tuple(name for name in known if (name in whole) is unharmed) for unharmed in (True, False))
        return Contents(*told)


def unharmed_tree(path: str) -> bytes | None:
    """The text of a damaged file's result; None if that is damaged as well.

    Raises:
        OSError: it can't be read.
    """
    with open_plain(path) as file:
        known = _known(file) or {}
        pieces = known.get(TREE, [])
        if len(pieces) != 1 or not _is_whole(file, *pieces[0]):
            return None
        offset, size, _ = pieces[0]
        text = os.pread(file.fileno(), size, offset)
    if text.startswith(b"{"):
        return text.rstrip(b"\0")
    return zlib.decompressobj().decompress(text, _MOST_TEXT_BYTES)


def _known(file: BinaryIO) -> Mapping[str, Pieces] | None:
    fd, size = file.fileno(), os.fstat(file.fileno()).st_size - SEAL_BYTES
    start = _start(fd, size)
    if start < 0:
        return None
    known = _parsed(os.pread(fd, size - start, start)[len(_MAGIC) :])
    return known if known is not None and _are_apart(known, start) else None


def _start(fd: int, size: int) -> int:
    """Where the contents begin; -1 if there are none."""
    start = size
    while start > 0 and size - start <= _MOST_TEXT_BYTES:
        start, end = max(0, start - _PIECE), min(size, start + len(_MAGIC) - 1)
        at = os.pread(fd, end - start, start).rfind(_MAGIC)
        if at >= 0:
            return start + at
    return -1


def _are_apart(known: Mapping[str, Pieces], end: int) -> bool:
    """Whether no two pieces say that they have the same byte: to look at all takes no longer than to read the file."""
    at = 0
    for offset, size, _ in sorted(piece for pieces in known.values() for piece in pieces):
        if offset < at:
            return False
        at = offset + size
    return at <= end


def _parsed(content: bytes) -> dict[str, Pieces] | None:
    head, text = content[: _HEAD_BYTES - len(_MAGIC)], content[_HEAD_BYTES - len(_MAGIC) :]
    if head != b"%08x %08x" % (len(text), zlib.crc32(text)):
        return None
    return {name: [_piece(piece) for piece in pieces] for name, pieces in parse_object(text).items()}


def _piece(numbers: Any) -> tuple[int, int, int]:
    facts: dict[str, Any] = dict(zip(("offset", "bytes", "crc32"), numbers, strict=True))
    return integer(facts, "offset"), integer(facts, "bytes", high=1 << 31), integer(facts, "crc32")


def _is_whole(file: BinaryIO, offset: int, size: int, crc32: int) -> bool:
    """Whether a piece is there as it was written; read by bits, as its size may be anything."""
    checksum, end = 0, offset + size
    while offset < end:
        piece = os.pread(file.fileno(), min(1 << 20, end - offset), offset)
        if not piece:
            return False
        checksum, offset = zlib.crc32(piece, checksum), offset + len(piece)
    return checksum == crc32
