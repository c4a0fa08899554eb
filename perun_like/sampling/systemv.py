"""The kernel's calls for System V segments, which take ctypes; imported only where that can't change the program.

A program may have a module called ``struct``, which ctypes would execute in place of Python's. And a child that is
forked while another thread imports something waits for ever when it imports the same. Both go without segments.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from _thread import get_ident
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

Read = Callable[[int, int], bytes]  # bytes from a place on, so many at most

_NEEDED = ("types", "struct", "_struct", "_ctypes", "ctypes")  # what ctypes imports of others, and itself
_ABSENT = object()
_OURS_ALONE = 0o600
_PRIVATE, _CREATE, _READ_ONLY, _REMAP, _REMOVE = 0, 0o1000, 0o10000, 0o40000, 0  # of <sys/ipc.h> and <sys/shm.h>


class SystemV:
    """The calls.

    Args:
        ctypes: The module.
    """

    def __init__(self, ctypes: Any) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._ctypes = ctypes
        self._get, self._attach, self._detach, self._control = libc.shmget, libc.shmat, libc.shmdt, libc.shmctl
        self._get.argtypes = ctypes.c_int, ctypes.c_size_t, ctypes.c_int
        self._attach.argtypes = ctypes.c_int, ctypes.c_void_p, ctypes.c_int
        self._attach.restype = ctypes.c_void_p
        self._detach.argtypes = (ctypes.c_void_p,)
        self._control.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_void_p
        self._spoilt: list[mmap.mmap] = []

    def create(self, size: int) -> int:
        """Make a segment; returns its id.

        Raises:
            OSError: there is no room for it.
        """
        id_: int = self._get(_PRIVATE, size, _CREATE | _OURS_ALONE)
        if id_ < 0:
            raise self._error()
        return id_

    def attached(self, id_: int, size: int) -> memoryview:
        """Its bytes, for writing; attached as long as there is a view of them.

        It takes the place of a mapping of Python's, with which it goes: by no code of ours. In a ``__del__``, what a
        signal handler of the program's raises would be lost.

        Raises:
            OSError: it can't be attached.
        """
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        address = self._ctypes.addressof(self._ctypes.c_char.from_buffer(mapping))
        if self._attach(id_, address, _REMAP) != address:
            self._spoilt.append(mapping)  # never unmapped: something of the program's may be there by now
            raise self._error()
        return memoryview(mapping)

    @contextmanager
    def opened(self, id_: int, size: int) -> Generator[Read, None, None]:
        """Its bytes, for reading, until then.

        Raises:
            OSError: it can't be attached.
        """
        address = self._attach(id_, None, _READ_ONLY)
        if address is None or address == self._ctypes.c_void_p(-1).value:
            raise self._error()
        memory = memoryview((self._ctypes.c_char * size).from_address(address)).cast("B")
        try:
            yield lambda place, most_b: bytes(memory[place : place + most_b])
        finally:
            memory.release()  # whoever reads now gets an error, not what has come to be there
            self._detach(address)

    def remove(self, id_: int) -> None:
        """Have it removed when the last process has detached it.

        Raises:
            OSError: it isn't ours.
        """
        if self._control(id_, _REMOVE, None) < 0:
            raise self._error()

    def _error(self) -> OSError:
        number = self._ctypes.get_errno()
        return OSError(number, os.strerror(number))


class _Loader:
    """Imports what the calls need, and knows in a forked child whether its parent was about to."""

    def __init__(self) -> None:
        self.calls: SystemV | None = None
        self._importing: set[int] = set()  # threads; no lock, for a fork would have to wait for it
        self._cut_off = False

    def load(self, also: Callable[[], object] | None = None) -> SystemV:
        if self.calls is not None:
            return self.calls
        if self._cut_off:
            raise OSError(errno.ENOSYS, "this process was forked while its parent imported ctypes")
        me = get_ident()
        self._importing.add(me)
        try:
            if also is not None:
                also()
            self.calls = _imported()
        finally:
            self._importing.discard(me)
        return self.calls

    def forget(self) -> None:
        """In a forked child: of the threads, there is only this one."""
        self._cut_off = self._cut_off or bool(self._importing)
        self._importing.clear()


_loader = _Loader()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_loader.forget)


def calls() -> SystemV:
    """The calls, imported now if need be.

    Raises:
        OSError: ``ENOSYS``: this Python can't make them, or importing them might change the program.
    """
    return _loader.load()


def prepare(also: Callable[[], object]) -> None:
    """Import what the calls need now, and something else of ours before.

    Raises:
        OSError: as for :func:`calls`.
    """
    _loader.load(also)


def is_prepared() -> bool:
    """Whether the calls can be made without importing anything."""
    return _loader.calls is not None


def is_possible() -> bool:
    """Whether importing ctypes would execute nothing but Python's own; nothing is executed to know it."""
    return all(map(_is_python_s_own, _NEEDED))


def _imported() -> SystemV:
    if not is_possible():
        raise OSError(errno.ENOSYS, "there is no ctypes, or modules of the program's would take the place of its own")
    try:
        import ctypes  # 2 ms that only a process with marks needs

        return SystemV(ctypes)
    except Exception as error:
        # A part of it may be missing, or the C library lack the calls.
        raise OSError(errno.ENOSYS, f"there is no ctypes: {error}") from error


def _is_python_s_own(name: str) -> bool:
    from importlib.machinery import ModuleSpec, PathFinder

    module: object = sys.modules.get(name, _ABSENT)
    if module is _ABSENT:
        if name in sys.builtin_module_names:  # these are found first
            return True
        spec = PathFinder.find_spec(name)
    else:
        spec = module.__dict__.get("__spec__") if type(module) is ModuleType else None
    if type(spec) is not ModuleSpec or spec.origin is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return module is not _ABSENT
    library = os.path.dirname(getattr(os, "__file__", None) or "/")
    places = [library, os.path.join(library, "lib-dynload"), os.path.join(library, name)]
    return library != "/" and os.path.dirname(spec.origin) in places
