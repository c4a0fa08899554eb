"""What a file system is made of: directories, links, and files computed when they are read."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping


def _never() -> bool:
    return False


class Node:
    """A file, directory or link.

    Attributes:
        mode: Type and permission bits, as in ``st_mode``.
        gone: Whether it has vanished, asked at every lookup.
    """

    def __init__(self, mode: int, gone: Callable[[], bool] = _never) -> None:
        self.mode = mode
        self.gone = gone
        self.ino = 0


class Directory(Node):
    """A directory of named nodes."""

    def __init__(self, entries: Mapping[str, Node], gone: Callable[[], bool] = _never) -> None:
        super().__init__(stat.S_IFDIR | 0o755, gone)
        self.entries = {name.encode(): node for name, node in entries.items()}


class Symlink(Node):
    """A symbolic link."""

    def __init__(self, target: str, gone: Callable[[], bool] = _never) -> None:
        super().__init__(stat.S_IFLNK | 0o777, gone)
        self.target = target.encode()


class File(Node):
    """A file whose content is computed when it is read from its start.

    Attributes:
        read: Gives the content, or raises OSError with the errno that the reader shall see.
        permissions: ``0o444`` and the like. They are kept by us, not the kernel.
        refused: Whether opening fails with EACCES, for root too.
        delay_s: How long the answer to a read that arrives now is held back, others not; None if never.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        permissions: int = 0o444,
        *,
        gone: Callable[[], bool] = _never,
        refused: Callable[[], bool] = _never,
        delay_s: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(stat.S_IFREG | permissions, gone)
        self.read = read
        self.refused = refused
        self.delay_s = delay_s
