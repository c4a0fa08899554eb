"""Whether a file can be trusted to be a run's: what is checked around HDF5, and how damage is told."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import h5py

from perun_like.errors import FileError
from perun_like.store import hdf5, schema
from perun_like.store.contents import look
from perun_like.store.schema import TREE

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK_BYTES = 48  # of version 0 (byte 8); the last 8 are the file's length
_PIECE = 1 << 20
_FEW = 5
_STUMBLES = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError, zlib.error),
)


@contextmanager
def telling_damage(path: str, *, besides: type[Exception] | tuple[()] = ()) -> Generator[None]:
    """Whatever h5py, numpy, json and we ourselves stumble over in a damaged file, said in one way.

    Args:
        path: The file.
        besides: What isn't the file's fault, as it can't be written what is made of it.

    Raises:
        FileError: in place of it.
    """
    try:
        yield
    except _STUMBLES as error:
        if isinstance(error, besides):
            raise
        raise FileError(f"{path} is damaged or truncated ({_first_line(error)}); {_advice(path)}") from error


def check_outside(path: str) -> None:
    """What can be said about a file without HDF5, which would only say that it can't open it.

    Raises:
        FileError: there is no such file, it isn't HDF5, or it isn't as it was written.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise FileError(f"{path} is {_no_file(path, mode)}")
        with open(path, "rb") as file:
            start = file.read(_SUPERBLOCK_BYTES)
            unharmed = _is_unharmed(file, start)
    except (OSError, ValueError) as error:  # ValueError: no path has a NUL in it
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FileError(f"can't read {path!r}: {reason}; results are in perun_results/<name>/<run id>.h5") from None
    if not start:
        raise FileError(f"{path} is empty; {_advice(path)}")
    if not start.startswith(_SIGNATURE[: len(start)]):
        raise FileError(f"{path} is not an HDF5 file, so perun_like hasn't written it; give the .h5 file of a run")
    if not unharmed:
        raise FileError(f"{path} is damaged or truncated (its checksum says so){_unharmed(path)}; {_advice(path)}")


def _unharmed(path: str) -> str:
    """What of a damaged file is as it was written, as far as that can be told."""
    try:
        found = look(path)
    except (OSError, *_STUMBLES):
        found = None
    if found is None:
        return ": it has been cut, or what it holds can't be told any more"
    if not found.damaged:
        return ": its result and all that was recorded are unharmed, but not what leads to them"
    result = "; its result isn't, and perun-like report shows it" if TREE in found.whole else ""
    return f": damaged {_listed(found.damaged)} of {len(found.whole) + len(found.damaged)} datasets{result}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ("are " if len(names) > 1 else "is ") + ", ".join(f"/{name}" for name in names[:_FEW]) + more


def _is_unharmed(file: BinaryIO, start: bytes) -> bool:
    """Whether a file is as it was sealed. HDF5 trusts its input: of random damage it may hang or crash.

    A file without a seal has been changed with HDF5 since, if it is as long as HDF5 made it.
    """
    whole = os.fstat(file.fileno()).st_size
    size = whole - schema.SEAL_BYTES
    file.seek(max(size, 0))
    found = file.read()
    if not schema.is_seal(found):
        return start[8:9] != b"\0" or whole == int.from_bytes(start[40:48], "little")
    file.seek(0)
    checksum = 0
    while size > 0:
        piece = file.read(min(size, _PIECE))
        checksum, size = zlib.crc32(piece, checksum), size - len(piece)
    return found == schema.seal(checksum)


def check_version(path: str, file: h5py.File) -> None:
    """Refuse files of other programs, and formats that don't exist yet.

    Raises:
        FileError: this is one.
    """
    if file.attrs.get(schema.SCHEMA_ATTRIBUTE) != schema.SCHEMA:
        raise FileError(f"{path} is an HDF5 file that perun_like hasn't written; give the .h5 file of a run")
    version = hdf5.integer(file, schema.VERSION_ATTRIBUTE)
    if version > schema.NEWEST_VERSION:
        writer = file.attrs.get(schema.SOFTWARE_ATTRIBUTE, "a newer version")
        raise FileError(
            f"{path} has format {version}, written by perun_like {writer}, and this version reads formats up to "
            f"{schema.NEWEST_VERSION}: update perun_like"
        )


def _no_file(path: str, mode: int) -> str:
    """What something is that isn't a file, and what to give in its place."""
    if not stat.S_ISDIR(mode):
        return "not a file: give the .h5 file of a run"
    if path.rstrip(os.sep).endswith(".parts"):
        return f"a directory: {_advice(path.rstrip(os.sep))}"
    from glob import glob  # only on the way to an error

    inside = [os.path.join(path, name) for pattern in ("*", "*/*") for name in glob(pattern, root_dir=path)]
    runs = [name for name in inside if name.endswith(".h5")]
    if runs:
        return f"a directory: give one of the {len(runs):,} .h5 files in it, such as {max(runs, key=os.path.basename)}"
    if any(name.endswith(".parts") for name in inside):
        return f"a directory with runs that were cut short: perun-like recover {path} makes files of them"
    return "a directory without results: give the .h5 file of a run"


def _advice(path: str) -> str:
    parts = path if path.endswith(".parts") else path.removesuffix(".h5") + ".parts"
    if os.path.isdir(parts):
        return f"make it anew from what was sampled: perun-like recover {parts}"
    return "take another copy of it, or run the program again"


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
