"""Give a finished file its name: whole or not at all, and sealed."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from typing import NamedTuple

from perun_like.errors import InputError, PerunError
from perun_like.sampling.distrust import open_plain
from perun_like.store import schema

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EFBIG: "raise the limit for the size of files (ulimit -f)",
    errno.EROFS: "it can't be written to",
    errno.EACCES: "you may not write there",
    errno.ENOENT: "its directory doesn't exist",
}


class Stamp(NamedTuple):
    """What tells a sealed file from others.

    Attributes:
        size_b: Its size, seal included.
        crc32: The checksum in its seal.
    """

    size_b: int
    crc32: int


def stamp_of(image: bytes) -> Stamp:
    """The stamp of the file that :func:`publish` will make."""
    return Stamp(len(image) + schema.SEAL_BYTES, zlib.crc32(image))


def has_stamp(path: str, stamp: Stamp) -> bool:
    """Whether a file has this size and ends in this seal. That it agrees with its seal is for who opens it to see.

    Raises:
        OSError: it can't be read.
    """
    with open_plain(path) as file:
        if os.fstat(file.fileno()).st_size != stamp.size_b or stamp.size_b < schema.SEAL_BYTES:
            return False
        file.seek(-schema.SEAL_BYTES, os.SEEK_END)
        return file.read() == schema.seal(stamp.crc32)


def publish(path: str, image: bytes, *, replace: bool = False, draft_in: str | None = None) -> Stamp:
    """Write a file and seal it, so that it is complete whenever it is there at all.

    Args:
        path: The file to be; its directory exists.
        image: Its contents; a seal is put behind them.
        replace: Whether it may take the place of another one; else an existing file is never touched.
        draft_in: A directory that is going to be removed, for what a kill would leave behind; else that is beside.

    Raises:
        InputError: there is a file of this name.
        PerunError: it can't be written; nothing is left behind.
    """
    stamp = stamp_of(image)
    write_whole(path, image, schema.seal(stamp.crc32), replace=replace, draft_in=draft_in)
    return stamp


def write_whole(path: str, *contents: bytes, replace: bool = False, draft_in: str | None = None) -> None:
    """Write a file elsewhere and then give it its name: as :func:`publish`, without a seal.

    Raises:
        InputError: there is a file of this name.
        PerunError: it can't be written; nothing is left behind.
    """
    directory, draft = os.path.dirname(path) or ".", None
    try:
        beside = draft_in is None or os.stat(draft_in).st_dev != os.stat(directory).st_dev
        draft = os.path.join(str(directory if beside else draft_in), f".perun-like-{os.urandom(8).hex()}.tmp")
        with open(draft, "xb") as file:
            file.writelines(contents)
            file.flush()
            os.fsync(file.fileno())
        (os.replace if replace else give_name)(draft, path)
        sync_directory(directory)
    except FileExistsError:
        message = f"{path} exists and is left as it is: give another --run-id, or move the file away"
        raise InputError(message) from None
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "nothing was left behind")
        raise PerunError(f"can't write {path}: {error.strerror}: {remedy}, or choose another directory") from error
    finally:
        if draft is not None:
            with contextlib.suppress(OSError):
                os.unlink(draft)


def give_name(temporary: str, path: str) -> None:
    """Give a finished file its name, unless there is a file of that name: of several writers, one succeeds.

    It may keep its other name too.

    Raises:
        FileExistsError: there is one.
        OSError: it can't be done.
    """
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            os.replace(temporary, path)
        except OSError:
            os.unlink(path)  # it was empty, and ours
            raise


def sync_directory(directory: str) -> None:
    """Have the names in a directory on the disk."""
    with contextlib.suppress(OSError):  # not every file system can; the files themselves are safe
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
