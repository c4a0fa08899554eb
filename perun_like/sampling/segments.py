"""Memory that nobody can make smaller, in which the application's processes write their marks.

Who touches a page of a mapped file that has been cut off is ended by SIGBUS, and root's programs can cut off any file.
A System V segment has no name in a file system and can't shrink. Like a file it survives its processes, even all at
once, and it stays mapped when it is removed.

Where a mapped file would be, a **link** that leads nowhere stands for a segment: ``<id>-<token>``. It is made in one
step, takes no room, and can't be truncated. The segment begins with a **head**, a page in which that token stands
again, so that an id that has been given to another segment, or a link that somebody has planted, is noticed.

Where there is no such memory, or the sampler couldn't see it, there are mapped files: :mod:`perun_like.sampling.marks`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator, Iterable
from typing import NamedTuple

from perun_like.sampling import systemv
from perun_like.sampling.distrust import open_plain
from perun_like.sampling.marks import ROUND_WORDS, ROW_WORDS, file_bytes
from perun_like.sampling.systemv import Read

_OFFER = "ipc"  # a link in a run's directory: the namespace in which its sampler sees segments
_MAGIC = b"PMARKS1\n"
_TOKEN_BYTES = 8
_PAGE_BYTES = _HEAD_BYTES = 1 << 12
_SIZE_SIGN = 1789  # bytes more than are used: a size by which ours are told from other programs'
_PRIVATE = 0  # a key, of <sys/ipc.h>
_TABLE = "/proc/sysvipc/shm"


def offer(run: str) -> None:
    """Note in a run's directory that this process will find what is marked in segments, if it will."""
    with contextlib.suppress(OSError):
        os.stat(_TABLE)
        with open("/proc/sys/kernel/shm_rmid_forced") as file:
            survive = file.read().strip() == "0"  # else segments go with their last process
        if survive and systemv.is_possible():  # importing takes 2 ms before the application's start
            os.symlink(_namespace("ipc"), os.path.join(run, _OFFER))


def new_segment(path: str, size: int) -> memoryview:
    """Make a segment that is found by a link at this path.

    Args:
        path: ``<run's directory>/<rank>/<name>``.
        size: In bytes.

    Returns:
        Its words, int64, all 0. It stays attached as long as there is a view of them.

    Raises:
        OSError: there is no such memory, no room for it, or who collects marks wouldn't see it.
    """
    run = os.path.dirname(os.path.dirname(path))
    if os.readlink(os.path.join(run, _OFFER)) != _namespace("ipc"):
        raise OSError(errno.EXDEV, "the sampler doesn't see what is shared here", run)
    token = os.urandom(_TOKEN_BYTES)
    head = _Head(token, _surroundings(), os.fsencode(path)).written()
    system, id_ = systemv.calls(), None
    try:
        id_ = system.create(_whole(size))
        memory = system.attached(id_, _whole(size))
        memory[: len(head)] = head
        words = memory[_HEAD_BYTES : _HEAD_BYTES + size].cast("q")
        os.symlink(_target(id_, token), path)
    except BaseException:
        if id_ is not None:
            system.remove(id_)
        raise
    return words


@contextlib.contextmanager
def opened(path: str, size: int) -> Generator[Read, None, None]:
    """What was marked under a name, be it in a segment or in a mapped file, for reading.

    Args:
        path: The link or file.
        size: Of a segment, in bytes.

    Raises:
        OSError: there is none, or something else in its place; ``ENOSYS``: this Python can't look.
    """
    if not os.path.islink(path):
        with open_plain(path) as file:
            yield lambda place, most_b: os.pread(file.fileno(), most_b, place)
        return
    with _found(path, _known(), size) as (_, read):
        yield lambda place, most_b: read(_HEAD_BYTES + place, max(0, min(most_b, size - place)))


def remove(paths: Iterable[str]) -> None:
    """Remove the segments that links stand for; what isn't one of ours is passed over. The links stay.

    Processes that have them attached go on with them as before.
    """
    links = [path for path in paths if os.path.islink(path)]
    known = _known() if links else {}
    for path in links:
        with contextlib.suppress(OSError), _found(path, known) as (id_, _):
            systemv.calls().remove(id_)


def remove_nameless() -> None:
    """Remove segments whose links were deleted, by the application perhaps, once their processes have ended.

    Only who sees the directories that those processes saw knows that a link is gone.
    """
    with contextlib.suppress(OSError):
        for row in _known().values():
            if row.is_left and not _has_name(row):
                systemv.calls().remove(row.id)


class _Row(NamedTuple):
    """What the kernel tells of a segment that is like ours."""

    id: int
    uid: int
    size: int
    is_left: bool  # whether no process has it, and the one that has made it can't be about to


class _Head(NamedTuple):
    """What stands at the beginning of a segment."""

    token: bytes
    surroundings: bytes
    path: bytes

    def written(self) -> bytes:
        """As bytes.

        Raises:
            OSError: the path is too long.
        """
        written = b"".join((_MAGIC, self.token, self.surroundings, b" ", self.path, b"\0"))
        if len(written) > _HEAD_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), self.path)
        return written

    @classmethod
    def read(cls, head: bytes) -> _Head:
        """From the beginning of a segment.

        Raises:
            OSError: it isn't one of ours.
        """
        token, text = head[len(_MAGIC) :][:_TOKEN_BYTES], head[len(_MAGIC) + _TOKEN_BYTES :].partition(b"\0")[0]
        if not head.startswith(_MAGIC):
            raise OSError(errno.EINVAL, "not a segment of ours")
        surroundings, _, path = text.partition(b" ")
        return cls(token, surroundings, path)


def _whole(size: int) -> int:
    return _HEAD_BYTES + -(-size // _PAGE_BYTES) * _PAGE_BYTES + _SIZE_SIGN


def _target(id_: int, token: bytes) -> str:
    return f"{id_}-{token.hex()}"


def _namespace(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def _surroundings() -> bytes:
    """Who has the same has the same directories under the same paths."""
    root = os.stat("/")
    return f"{_namespace('mnt')}:{root.st_dev}:{root.st_ino}".encode()


def _known() -> dict[int, _Row]:
    """Segments of this namespace that may be ours, by id: the kernel's structures differ, its table doesn't."""
    with open(_TABLE) as file:
        columns = {name: place for place, name in enumerate(file.readline().split())}
        rows = [line.split() for line in file]
    found: dict[int, _Row] = {}
    for row in rows:
        key, id_, size, creator, attached, uid = (
            int(row[columns[name]]) for name in ("key", "shmid", "size", "cpid", "nattch", "uid")
        )
        if key == _PRIVATE and size % _PAGE_BYTES == _SIZE_SIGN:
            # A creator that this process can't see is 0.
            is_left = not attached and creator != 0 and not os.path.exists(f"/proc/{creator}")
            found[id_] = _Row(id_, uid, size, is_left)
    return found


@contextlib.contextmanager
def _found(path: str, known: dict[int, _Row], size: int | None = None) -> Generator[tuple[int, Read], None, None]:
    """The segment that a link stands for, if it is the one that it was made for."""
    target, owner = os.readlink(path), os.lstat(path).st_uid
    number = target.partition("-")[0]
    row = known.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 11 else None
    if row is None or row.uid != owner or (size is not None and row.size != _whole(size)):
        raise FileNotFoundError(errno.ENOENT, "there is no such segment", path)
    with systemv.calls().opened(row.id, row.size) as read:
        if _target(row.id, _Head.read(read(0, _HEAD_BYTES)).token) != target:
            raise FileNotFoundError(errno.ENOENT, "its segment has been removed", path)
        yield row.id, read


def _has_name(row: _Row) -> bool:
    """Whether somebody may still find a segment by its link, as far as can be seen from here."""
    if row.uid != os.geteuid():
        return True
    try:
        with systemv.calls().opened(row.id, row.size) as read:
            written = read(0, _HEAD_BYTES)
        if not any(written):  # its process was killed before it said what it is
            return row.size not in (_whole(file_bytes(words)) for words in (ROW_WORDS, ROUND_WORDS))
        head = _Head.read(written)
        if head.surroundings != _surroundings():
            return True
        return os.readlink(head.path) == os.fsencode(_target(row.id, head.token))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
