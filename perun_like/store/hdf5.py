"""The little of HDF5 that the file needs: written with h5py's low-level calls, read with distrust.

A file with 20 datasets is built in 1 ms this way and in 3 ms with h5py's high-level calls, and most runs are that
small.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]  # compiled, without a stub
from numpy.typing import NDArray

from perun_like.store.columns import Column
from perun_like.store.contents import contents_of
from perun_like.store.schema import CHUNK_ROWS, PLAIN_BYTES, PLAIN_ROWS

MOST_TEXT_BYTES = 1 << 30
_LEVEL = 1  # level 6 saves 3 % and takes twice as long
_LARGEST_INFLATION = 1032  # deflate can't do better: https://zlib.net/zlib_tech.html
_TEXT_INFLATION = 300  # JSON of ours deflates to a tenth; of nothing but repetitions, to a hundredth
_FEW_BYTES = 1 << 24
_SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)
_TEXT = h5py.string_dtype()
_NUMBERS = count()


class Packed(NamedTuple):
    """A dataset ready to be written.

    Attributes:
        array: What is written if there are no chunks; else only its type and shape count.
        chunk_rows: How many rows are deflated together.
        chunks: Deflated, one after the other; None if there are none.
    """

    array: NDArray[Any]
    chunk_rows: int
    chunks: Iterable[bytes] | None = None


def pack(column: Column, mapped: Callable[..., Iterable[bytes]] = map) -> Packed:
    """Deflate a column, if it is long enough.

    Args:
        column: The column.
        mapped: What calls a function for each chunk; threads may: zlib lets go of the interpreter.
    """
    array = column.stored
    if len(array) <= PLAIN_ROWS:
        return Packed(array, len(array))
    rows = min(CHUNK_ROWS, len(array))
    chunks = [array[start : start + rows] for start in range(0, len(array), rows)]
    return Packed(array, rows, mapped(partial(_deflated, rows), chunks))


def pack_text(pieces: Iterable[str]) -> Packed:
    """A text of any length as the only element of a dataset; a long one is never in memory as a whole.

    Args:
        pieces: ASCII.
    """
    deflate, size = zlib.compressobj(_LEVEL), 0
    deflated: list[bytes] = []
    for piece in pieces:
        size += len(piece)
        deflated.append(deflate.compress(piece.encode("ascii")))
    chunk = b"".join([*deflated, deflate.flush()])
    if size > PLAIN_BYTES:  # shuffling a single element changes nothing
        return Packed(np.empty(1, f"S{size}"), 1, (chunk,))
    return Packed(np.array([zlib.decompress(chunk) or b" "], np.bytes_), 1)


def _deflated(rows: int, chunk: NDArray[Any]) -> bytes:
    """A chunk as HDF5's filters shuffle and deflate would make it; the last one is filled up with zeros."""
    if len(chunk) < rows:
        chunk = np.concatenate([chunk, np.zeros(rows - len(chunk), chunk.dtype)])
    # Differences of what is measured hardly repeat themselves but for bytes that stay the same. To look for nothing
    # else takes half the time, and makes them no larger.
    deflate = zlib.compressobj(_LEVEL, strategy=zlib.Z_RLE)
    return deflate.compress(chunk.view(np.uint8).reshape(rows, -1).T.tobytes()) + deflate.flush()


class Image:
    """An HDF5 file being built in memory.

    In memory, because HDF5 can't give up a file that can't be written, and because the file is much smaller than the
    arrays it is made of.
    """

    def __init__(self) -> None:
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fapl_core(1 << 20, False)
        # The oldest format that can hold what we write: the one that every reader knows.
        access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_LATEST)
        name = f"run-{next(_NUMBERS)}".encode()  # HDF5 tells open files apart by name, in memory too
        self._file = h5py.h5f.create(name, h5py.h5f.ACC_TRUNC, fapl=access)
        self._parents = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        self._parents.set_create_intermediate_group(True)
        self._datasets: list[tuple[str, Any]] = []

    def add(self, path: str, packed: Packed, attributes: dict[str, str | int | float]) -> None:
        """Write a dataset; groups on its path are made."""
        array = packed.array
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_obj_track_times(False)  # the same run makes the same file, whenever it is made
        if packed.chunks is not None:
            layout.set_chunk((packed.chunk_rows,))
            layout.set_shuffle()
            layout.set_deflate(_LEVEL)
        type_, space = h5py.h5t.py_create(array.dtype, logical=True), h5py.h5s.create_simple(array.shape)
        dataset = h5py.h5d.create(self._file, path.encode(), type_, space, layout, lcpl=self._parents)
        for number, chunk in enumerate(packed.chunks or ()):
            dataset.write_direct_chunk((number * packed.chunk_rows,), chunk)
        if packed.chunks is None and array.size:
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array))
        _annotate(dataset, attributes)
        self._datasets.append((path, dataset))

    def annotate(self, attributes: dict[str, str | int | float]) -> None:
        """Write attributes of the file."""
        _annotate(h5py.h5g.open(self._file, b"/"), attributes)

    def copy(self, file: h5py.File, group: str, path: str) -> None:
        """Copy a group of another file with all that is in it, as it is stored there; no group is no copy.

        Links out of that file stay links, which no reader of ours follows.
        """
        if group in file:
            h5o.copy(file.id, group.encode(), self._file, path.encode(), lcpl=self._parents)
            names: list[bytes] = []
            h5o.visit(h5o.open(self._file, path.encode()), names.append)
            found = [(f"{path}/{name.decode()}", h5o.open(self._file, path.encode() + b"/" + name)) for name in names]
            self._datasets += [entry for entry in found if isinstance(entry[1], h5py.h5d.DatasetID)]

    def close(self) -> bytes:
        """The finished file, and behind it what it holds."""
        h5py.h5f.flush(self._file)
        image: bytes = self._file.get_file_image()
        contents = contents_of(self._datasets, image)
        self._datasets.clear()
        self._file.close()
        return image + contents


def _annotate(place: Any, attributes: dict[str, str | int | float]) -> None:
    for name, value in attributes.items():
        array = np.array(value, _TEXT if isinstance(value, str) else type(value))
        type_ = h5py.h5t.py_create(array.dtype, logical=True)
        h5py.h5a.create(place, name.encode(), type_, _SCALAR).write(array)


def text(file: h5py.File, name: str) -> bytes:
    """A text that ``pack_text`` has packed.

    Raises:
        ValueError: there is no such text in the file, or it can't be what it says.
    """
    dataset = _trusted(file, name, "S")
    if dataset.shape != (1,):
        raise ValueError(f"{name} is not one text")
    if dataset.dtype.itemsize > min(MOST_TEXT_BYTES, _FEW_BYTES + _TEXT_INFLATION * dataset.id.get_storage_size()):
        raise ValueError(f"{name} says that it is larger than it can be")
    return bytes(dataset[0])


def column(file: h5py.File, path: str, rows: int) -> h5py.Dataset:
    """A column of integers.

    Raises:
        ValueError: there is no such column of ``rows`` rows in the file, or it can't be what it says.
    """
    dataset = _trusted(file, path, "iu")
    if dataset.shape != (rows,):
        raise ValueError(f"{path} has not {rows} rows")
    return dataset


def integer(place: h5py.File | h5py.Dataset, attribute: str) -> int:
    """An attribute that is an integer.

    Raises:
        ValueError: there is none.
    """
    value: Any = place.attrs.get(attribute)
    if not isinstance(value, np.integer):
        raise ValueError(f"{attribute} is not an integer")  # noqa: TRY004 - the file is wrong, not a caller
    return int(value)


def _trusted(file: h5py.File, path: str, kinds: str) -> h5py.Dataset:
    """A dataset that lies in this file and can't need more memory than its size in the file explains."""
    dataset = _linked(file, path)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in kinds or dataset.ndim != 1:
        raise ValueError(f"{path} is not a column of the right type")
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    ours = filters in ([], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE])
    if not ours or dataset.is_virtual or dataset.external:
        raise ValueError(f"{path} is stored in a way that perun_like doesn't use")
    chunk_rows = dataset.chunks[0] if dataset.chunks else 1
    needed = -(-dataset.shape[0] // chunk_rows) * chunk_rows * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), os.path.getsize(file.filename))
    if needed > stored * (_LARGEST_INFLATION if filters else 1):
        raise ValueError(f"{path} says that it is larger than it can be")
    return dataset


def _linked(file: h5py.File, path: str) -> Any:
    """Follow hard links only: others lead to other files."""
    place: Any = file
    for name in path.split("/"):
        link = place.get(name, getlink=True) if isinstance(place, h5py.Group) and name else None
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{path} is not there")  # noqa: TRY004 - the file is wrong, not a caller
        place = place[name]
    return place
