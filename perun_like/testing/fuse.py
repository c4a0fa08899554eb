"""A small read-only file system whose files are computed when they are read, in pure Python.

The kernel's side is ``/dev/fuse``: requests are read from it, answers are written to it, each a packed C
struct (https://github.com/torvalds/linux/blob/master/include/uapi/linux/fuse.h). The kernel caches nothing:
every ``pread`` of a held descriptor asks again, as it does in sysfs.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from collections.abc import Callable

from perun_like.testing.fuse_nodes import Directory, File, Node, Symlink

_LOOKUP, _FORGET, _GETATTR, _READLINK, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 5, 14, 15, 17, 18
_INIT, _OPENDIR, _READDIR, _RELEASEDIR, _ACCESS, _INTERRUPT, _DESTROY = 26, 27, 28, 29, 34, 36, 38
_BATCH_FORGET = 42
# FOPEN_DIRECT_IO: every read reaches us. FOPEN_NOFLUSH: a close doesn't, and thus works after our end.
_OPEN_FLAGS = 1 | 1 << 5
_PROTOCOL = 7, 31  # the newest whose structs are those below; kernels speak older ones too
_MAX_WRITE = 4096
_BUFFER_B = 1 << 16
_BODY = 40  # where a request's arguments start

_REQUEST = struct.Struct("=IIQQI")  # length, opcode, unique, node id, uid (gid and pid follow)
_ANSWER = struct.Struct("=IiQ")  # length, -errno, unique
_READ_IN = struct.Struct("=QQI")  # file handle, offset, size
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_ATTR = struct.Struct("=6Q10I")  # ino, size, blocks, times; ns, mode, links, owner, rdev, block size, flags
_ENTRY_OUT = struct.Struct("=QQQQII")  # node id, generation, 2 validities in s, 2 in ns: 0 is "ask again"
_ATTR_OUT = struct.Struct("=QII")  # validity in s, in ns
_OPEN_OUT = struct.Struct("=QII")  # file handle, flags
_INIT_OUT = struct.Struct("=4I2H2I2HI28x")
_DIRENT = struct.Struct("=QQII")  # ino, offset of the next, length of the name, type
_STATFS_OUT = struct.Struct("=5Q4I24x")


class _Opened:
    """An open file, and the content that its reader is in the middle of."""

    __slots__ = ("content", "file")

    def __init__(self, file: File) -> None:
        self.file = file
        self.content = b""


class Server:
    """Answers the kernel's requests on one mount.

    Args:
        descriptor: An open ``/dev/fuse`` that has been mounted.
        root: The tree to show. It can't change any more.
        owner: User id that the files belong to.
    """

    def __init__(self, descriptor: int, root: Directory, owner: int) -> None:
        self._descriptor = descriptor
        self._owner = owner
        self._nodes: list[Node] = [root]  # node id 1 is the root
        for node in self._nodes:  # grows as it is walked
            self._nodes += node.entries.values() if isinstance(node, Directory) else ()
        for index, node in enumerate(self._nodes):
            node.ino = index + 1
        self._opened: dict[int, _Opened] = {}
        self._handles = 0
        self._waiting: dict[int, threading.Timer] = {}
        self._buffer = bytearray(_BUFFER_B)
        self._view = memoryview(self._buffer)
        self._handlers: dict[int, Callable[[Node, int, memoryview], bytes]] = {
            _LOOKUP: self._lookup,
            _GETATTR: self._getattr,
            _READLINK: self._readlink,
            _OPEN: self._open,
            _STATFS: self._statfs,
            _RELEASE: self._release,
            _INIT: self._init,
            _OPENDIR: self._opendir,
            _READDIR: self._readdir,
            _RELEASEDIR: lambda _node, _uid, _body: b"",
            _ACCESS: self._access,
            _DESTROY: lambda _node, _uid, _body: b"",
        }

    def serve(self) -> None:
        """Answer until the file system is unmounted.

        Raises:
            OSError: the device failed in an unexpected way.
        """
        buffers, unpack, receive = [self._buffer], _REQUEST.unpack_from, os.readv
        while True:
            try:
                receive(self._descriptor, buffers)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue  # the request was taken back before we got it
                raise
            length, opcode, unique, node_id, uid = unpack(self._buffer)
            if opcode == _READ:  # first and without detours: how long it takes is what users notice
                self._read(unique)
            else:
                self._dispatch(opcode, unique, node_id, uid, self._view[_BODY:length])

    def _dispatch(self, opcode: int, unique: int, node_id: int, uid: int, body: memoryview) -> None:
        if opcode in (_FORGET, _BATCH_FORGET):
            return  # nodes live as long as we do; no answer is expected
        if opcode == _INTERRUPT:
            self._interrupt(_U64.unpack_from(body)[0])
            return
        handler = self._handlers.get(opcode)
        if handler is None:
            self._answer(unique, b"", errno.ENOSYS)  # the kernel then doesn't ask again
            return
        try:
            self._answer(unique, handler(self._nodes[max(node_id, 1) - 1], uid, body))
        except OSError as error:
            self._answer(unique, b"", error.errno or errno.EIO)

    def _answer(self, unique: int, data: bytes, code: int = 0) -> None:
        try:
            os.write(self._descriptor, _ANSWER.pack(16 + len(data), -code, unique) + data)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # else nobody is waiting for it any more
                raise

    def _read(self, unique: int) -> None:
        handle, offset, size = _READ_IN.unpack_from(self._buffer, _BODY)
        opened = self._opened[handle]
        if opened.file.delay_s is not None and offset == 0:
            delay_s = opened.file.delay_s()
            if delay_s > 0:
                self._answer_later(delay_s, unique, opened, size)
                return
        self._finish_read(unique, opened, offset, size)

    def _finish_read(self, unique: int, opened: _Opened, offset: int, size: int) -> None:
        try:
            if offset == 0:
                opened.content = opened.file.read()
            self._answer(unique, opened.content[offset : offset + size])
        except OSError as error:
            self._answer(unique, b"", error.errno or errno.EIO)

    def _answer_later(self, delay_s: float, unique: int, opened: _Opened, size: int) -> None:
        def finish() -> None:
            if self._waiting.pop(unique, None) is not None:
                self._finish_read(unique, opened, 0, size)

        timer = self._waiting[unique] = threading.Timer(delay_s, finish)
        timer.daemon = True
        timer.start()

    def _interrupt(self, unique: int) -> None:
        """The reader got a signal; without an answer it couldn't even be killed."""
        timer = self._waiting.pop(unique, None)
        if timer is not None:
            timer.cancel()
            self._answer(unique, b"", errno.EINTR)

    def _init(self, _node: Node, _uid: int, body: memoryview) -> bytes:
        major, minor, readahead = struct.unpack_from("=III", body)
        minor = min(minor, _PROTOCOL[1]) if major == _PROTOCOL[0] else _PROTOCOL[1]
        return _INIT_OUT.pack(_PROTOCOL[0], minor, readahead, 0, 0, 0, _MAX_WRITE, 1, 0, 0, 0)

    def _lookup(self, node: Node, _uid: int, body: memoryview) -> bytes:
        child = node.entries.get(bytes(body[:-1])) if isinstance(node, Directory) else None
        if child is None or child.gone() or node.gone():  # a directory may be held open
            raise OSError(errno.ENOENT, "no such entry")
        return _ENTRY_OUT.pack(child.ino, 0, 0, 0, 0, 0) + self._attributes(child)

    def _getattr(self, node: Node, _uid: int, _body: memoryview) -> bytes:
        return _ATTR_OUT.pack(0, 0, 0) + self._attributes(node)

    def _attributes(self, node: Node) -> bytes:
        links = 2 if isinstance(node, Directory) else 1
        size = 4096 if isinstance(node, File) else len(node.target) if isinstance(node, Symlink) else 0
        owner = self._owner
        return _ATTR.pack(node.ino, size, 0, 0, 0, 0, 0, 0, 0, node.mode, links, owner, owner, 0, 4096, 0)

    def _readlink(self, node: Node, _uid: int, _body: memoryview) -> bytes:
        if not isinstance(node, Symlink):
            raise OSError(errno.EINVAL, "not a link")
        return node.target

    def _open(self, node: Node, uid: int, _body: memoryview) -> bytes:
        self._check_readable(node, uid)
        if not isinstance(node, File):
            raise OSError(errno.EISDIR, "not a file")
        self._handles += 1
        self._opened[self._handles] = _Opened(node)
        return _OPEN_OUT.pack(self._handles, _OPEN_FLAGS, 0)

    def _check_readable(self, node: Node, uid: int) -> None:
        if node.gone():
            raise OSError(errno.ENOENT, "vanished")
        readable = node.mode & 0o004 or uid in (0, self._owner)
        if not readable or (isinstance(node, File) and node.refused()):
            raise OSError(errno.EACCES, "permission denied")

    def _release(self, _node: Node, _uid: int, body: memoryview) -> bytes:
        self._opened.pop(_U64.unpack_from(body)[0], None)
        return b""

    def _access(self, node: Node, uid: int, body: memoryview) -> bytes:
        mask = _U32.unpack_from(body)[0]
        if mask & os.W_OK:
            raise OSError(errno.EROFS, "read-only file system")
        if mask & os.X_OK and not node.mode & 0o111:
            raise OSError(errno.EACCES, "not executable")
        if mask & os.R_OK:
            self._check_readable(node, uid)
        return b""

    def _opendir(self, node: Node, _uid: int, _body: memoryview) -> bytes:
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, "not a directory")
        return _OPEN_OUT.pack(0, 0, 0)

    def _readdir(self, node: Node, _uid: int, body: memoryview) -> bytes:
        _, offset, size = _READ_IN.unpack_from(body)
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, "not a directory")
        listed: list[tuple[bytes, Node]] = [(b".", node), (b"..", node), *node.entries.items()]
        answer = b""
        for index, (name, child) in enumerate(listed[offset:], offset + 1):
            entry = _DIRENT.pack(child.ino, index, len(name), child.mode >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += b"" if child.gone() else entry
        return answer

    def _statfs(self, _node: Node, _uid: int, _body: memoryview) -> bytes:
        return _STATFS_OUT.pack(0, 0, 0, len(self._nodes), 0, 4096, 255, 4096, 0)
