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
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

from perun_like.sampling.distrust import open_plain

Read = Callable[[int, int], bytes]  # bytes from a place on, so many at most

_OFFER = "ipc"  # a link in a run's directory: the namespace in which its sampler sees segments
_MAGIC = b"PMARKS1\n"
_TOKEN_BYTES = 8
_HEAD_BYTES = 1 << 12
_SIZE_SIGN = 1789  # bytes more than are used: a size by which ours are told from other programs'
_OURS_ALONE = 0o600
_PRIVATE, _CREATE, _READ_ONLY, _REMOVE = 0, 0o1000, 0o10000, 0  # of <sys/ipc.h> and <sys/shm.h>
_TABLE = "/proc/sysvipc/shm"


def offer(run: str) -> None:
    """Note in a run's directory that this process will find what is marked in segments, if it will."""
    from importlib.util import find_spec  # ctypes itself would take 2 ms before the application's start

    with contextlib.suppress(OSError):
        os.stat(_TABLE)
        with open("/proc/sys/kernel/shm_rmid_forced") as file:
            survive = file.read().strip() == "0"  # else segments go with their last process
        if survive and find_spec("_ctypes") is not None:
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
    system = _SystemV()
    id_ = system.create(_whole(size))
    try:
        memory = system.attached(id_, _whole(size))
        memory[: len(head)] = head
        os.symlink(_target(id_, token), path)
    except BaseException:
        system.remove(id_)
        raise
    return memory[_HEAD_BYTES : _HEAD_BYTES + size].cast("q")


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
    with _found(path, _known(), size) as (_, memory):
        marks = memory[_HEAD_BYTES : _HEAD_BYTES + size]
        yield lambda place, most_b: bytes(marks[place : place + most_b])


def remove(paths: Iterable[str]) -> None:
    """Remove the segments that links stand for; what isn't one of ours is passed over. The links stay.

    Processes that have them attached go on with them as before.
    """
    links = [path for path in paths if os.path.islink(path)]
    known = _known() if links else {}
    for path in links:
        with contextlib.suppress(OSError), _found(path, known) as (id_, _):
            _SystemV().remove(id_)


def remove_nameless() -> None:
    """Remove segments whose links were deleted, by the application perhaps, once their processes have ended.

    Only who sees the directories that those processes saw knows that a link is gone.
    """
    with contextlib.suppress(OSError):
        for row in _known().values():
            if row.is_left and not _has_name(row):
                _SystemV().remove(row.id)


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
    def read(cls, memory: memoryview) -> _Head:
        """From a segment.

        Raises:
            OSError: it isn't one of ours.
        """
        head = bytes(memory[:_HEAD_BYTES])
        token, text = head[len(_MAGIC) :][:_TOKEN_BYTES], head[len(_MAGIC) + _TOKEN_BYTES :].partition(b"\0")[0]
        if not head.startswith(_MAGIC):
            raise OSError(errno.EINVAL, "not a segment of ours")
        surroundings, _, path = text.partition(b" ")
        return cls(token, surroundings, path)


def _whole(size: int) -> int:
    return _HEAD_BYTES + size + _SIZE_SIGN


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
        if key == _PRIVATE and size % (1 << 12) == _SIZE_SIGN:
            # A creator that this process can't see is 0.
            is_left = not attached and creator != 0 and not os.path.exists(f"/proc/{creator}")
            found[id_] = _Row(id_, uid, size, is_left)
    return found


@contextlib.contextmanager
def _found(path: str, known: dict[int, _Row], size: int | None = None) -> Generator[tuple[int, memoryview], None, None]:
    """The segment that a link stands for, if it is the one that it was made for."""
    target, owner = os.readlink(path), os.lstat(path).st_uid
    number = target.partition("-")[0]
    row = known.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 11 else None
    if row is None or row.uid != owner or (size is not None and row.size != _whole(size)):
        raise FileNotFoundError(errno.ENOENT, "there is no such segment", path)
    memory = _SystemV().attached(row.id, row.size, _READ_ONLY)
    if _target(row.id, _Head.read(memory).token) != target:
        raise FileNotFoundError(errno.ENOENT, "its segment has been removed", path)
    yield row.id, memory


def _has_name(row: _Row) -> bool:
    """Whether somebody may still find a segment by its link, as far as can be seen from here."""
    if row.uid != os.geteuid():
        return True
    try:
        head = _Head.read(_SystemV().attached(row.id, row.size, _READ_ONLY))
        if head.surroundings != _surroundings():
            return True
        return os.readlink(head.path) == os.fsencode(_target(row.id, head.token))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


class _SystemV:
    """The kernel's calls.

    Raises:
        OSError: this Python can't make them.
    """

    def __init__(self) -> None:
        try:
            import ctypes  # 2 ms that only a process with marks needs

            libc = ctypes.CDLL(None, use_errno=True)
            self._get, self._attach, self._detach, self._control = libc.shmget, libc.shmat, libc.shmdt, libc.shmctl
        except Exception as error:
            # Python may lack it, or a module of the program's hide it.
            raise OSError(errno.ENOSYS, f"there is no ctypes: {error}") from error
        self._ctypes = ctypes
        self._get.argtypes = ctypes.c_int, ctypes.c_size_t, ctypes.c_int
        self._attach.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_int
        self._attach.restype = ctypes.c_void_p
        self._detach.argtypes = (ctypes.c_void_p,)
        self._control.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_void_p

    def create(self, size: int) -> int:
        """Make a segment; returns its id."""
        id_: int = self._get(_PRIVATE, size, _CREATE | _OURS_ALONE)
        if id_ < 0:
            raise self._error()
        return id_

    def attached(self, id_: int, size: int, flags: int = 0) -> memoryview:
        """Its bytes, attached as long as there is a view of them."""
        address = self._attach(id_, None, flags)
        if address is None or address == self._ctypes.c_void_p(-1).value:
            raise self._error()
        detach, address_of = self._detach, self._ctypes.addressof

        def when_gone(attached: Any) -> None:
            detach(address_of(attached))

        kind: Any = type("Attached", (self._ctypes.c_char * size,), {"__del__": when_gone})
        memory = memoryview(kind.from_address(address)).cast("B")
        return memory.toreadonly() if flags & _READ_ONLY else memory

    def remove(self, id_: int) -> None:
        """Have it removed when the last process has detached it."""
        if self._control(id_, _REMOVE, None) < 0:
            raise self._error()

    def _error(self) -> OSError:
        number = self._ctypes.get_errno()
        return OSError(number, os.strerror(number))
