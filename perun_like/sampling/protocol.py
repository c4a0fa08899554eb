"""How monitor and sampler talk: JSON lines on two pipes, with the interface of events and a queue.

======================  =====================================================================
monitor to sampler      ``prepare`` (what to read, where to write), ``start``, ``watch`` (the
                        application has started or ended), ``note`` (something to be kept beside
                        the samples), ``sync`` (read now, and have everything where a reader
                        finds it), ``stop``, ``close``
sampler to monitor      ``ready``, ``started``, ``synced``, ``values`` (the newest, if asked for),
                        ``stopped``, ``closed``, ``failed``
======================  =====================================================================

Pipes need no semaphores and no helper process, and the kernel tells each side when the other has died.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from typing import TYPE_CHECKING, Any

from perun_like.errors import SamplerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

Message = dict[str, Any]

_CHUNK = 1 << 16
_ROOM = 1 << 15  # of the 64 KiB that a pipe holds


class Connection:
    """Messages on a pair of descriptors; each is a JSON object with a ``type``, on a line of its own."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._pending = b""
        self._ours = _identity(read_fd), _identity(write_fd)
        self._until_fd = -1
        self._reads = True

    def send(self, type_: str, **content: Any) -> None:
        """Send a message.

        Raises:
            SamplerError: the other side has gone.
        """
        line = json.dumps({"type": type_, **content}, separators=(",", ":")).encode() + b"\n"
        try:
            self._check()
            while line:
                line = line[os.write(self._write_fd, line) :]
        except OSError as error:
            raise SamplerError(f"the sampling process can't be reached: {error.strerror}") from error

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message, or None when none came in time.

        Raises:
            EOFError: the other side has gone and everything it sent was received; or what is attended to as well.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            if not self._wait(deadline):
                return None
            self._check()
            chunk = os.read(self._read_fd, _CHUNK)
            if not chunk:
                raise EOFError("the other side has closed its pipe")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def _check(self) -> None:
        """A program that closes all descriptors closes ours, and may have their numbers for files of its own by now."""
        if (_identity(self._read_fd), _identity(self._write_fd)) != self._ours:
            self._read_fd = self._write_fd = -1
            raise SamplerError("the sampling process can't be reached: its pipes were closed by the program")

    def attend(self, until_fd: int) -> None:
        """From now on ``receive`` also ends when a descriptor hangs up."""
        self._until_fd = until_fd

    def stop_reading(self) -> None:
        """The other side has gone: from now on only what is attended to counts."""
        self._reads = False

    def is_open(self) -> bool:
        """Whether the other side is still there."""
        poll = select.poll()
        poll.register(self._read_fd, 0)  # a hang-up is always told
        return self._read_fd >= 0 and not poll.poll(0)

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes can be sent without waiting for the other side to read (Linux)."""
        import fcntl  # these three are imported only where somebody wants the newest values
        import termios
        from array import array

        unread = array("i", [0])
        fcntl.ioctl(self._write_fd, termios.FIONREAD, unread)
        return unread[0] + size < _ROOM

    def _wait(self, deadline: float | None) -> bool:
        poll = select.poll()
        if self._reads:
            poll.register(self._read_fd, select.POLLIN)
        if self._until_fd >= 0:
            poll.register(self._until_fd, 0)  # a hang-up is always told
        left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1e3
        ready = [fd for fd, _ in poll.poll(left_ms)]
        if ready and self._read_fd not in ready:
            raise EOFError("nobody is left")
        return bool(ready)

    def close(self) -> None:
        """Close both descriptors. Safe to repeat."""
        with contextlib.suppress(SamplerError):
            self._check()
        for fd in {self._read_fd, self._write_fd} - {-1}:
            os.close(fd)
        self._read_fd = self._write_fd = -1


def _identity(fd: int) -> tuple[int, int]:
    """What a descriptor stands for."""
    try:
        status = os.fstat(fd)
    except OSError:
        return -1, -1
    return status.st_dev, status.st_ino


class Queue:
    """What the sampler reports, in order, with the reading half of ``multiprocessing.Queue``'s interface."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pumped: SimpleQueue[Message | None] | None = None

    def pump(self, take: Callable[[Message], bool]) -> None:
        """From now on read in a thread, which first offers each report to a function that may take it."""
        from queue import SimpleQueue  # these two are imported only where somebody wants the newest values
        from threading import Thread

        self._pumped = SimpleQueue()
        Thread(target=self._pump, args=(take, self._pumped), name="perun_like newest values", daemon=True).start()

    def _pump(self, take: Callable[[Message], bool], rest: SimpleQueue[Message | None]) -> None:
        try:
            while (message := self._connection.receive()) is not None:
                if not take(message):
                    rest.put(message)
        except (EOFError, OSError, ValueError, SamplerError):
            rest.put(None)

    def get(self, timeout: float | None = None) -> Message:
        """The next report.

        Raises:
            TimeoutError: none came in ``timeout`` seconds.
            SamplerError: the sampling process failed or has died.
        """
        try:
            message = self._connection.receive(timeout) if self._pumped is None else _next(self._pumped, timeout)
        except EOFError as error:
            raise SamplerError("the sampling process has died") from error
        if message is None:
            raise TimeoutError(f"the sampling process did not answer within {timeout} s")
        if message["type"] == "failed":
            raise SamplerError(f"the sampling process failed: {message['reason']}")
        return message


def _next(pumped: SimpleQueue[Message | None], timeout: float | None) -> Message | None:
    """The next report that a thread has read; None when none came in time."""
    from queue import Empty

    try:
        message = pumped.get(timeout=timeout)
    except Empty:
        return None
    if message is None:
        pumped.put(None)  # for whoever asks next
        raise EOFError("the other side has closed its pipe")
    return message


class Event:
    """A flag that one side raises and the other sees, with ``multiprocessing.Event``'s interface.

    Args:
        name: The message that raises it.
        connection: Where that message is sent; None for a flag that only the sampler raises.
        queue: Where the message arrives; None for a flag that only the monitor raises.

    Attributes:
        content: What the message that raised it said.
    """

    def __init__(self, name: str, connection: Connection | None = None, queue: Queue | None = None) -> None:
        self._name = name
        self._connection = connection
        self._queue = queue
        self._set = False
        self.content: Message = {}

    def set(self, **content: Any) -> None:
        """Raise the flag, and say so to the sampler."""
        if not self._set and self._connection is not None:
            self._connection.send(self._name, **content)
        self._set = True

    def is_set(self) -> bool:
        """Whether the flag has been raised, as far as this side has heard."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is raised; False when it wasn't in ``timeout`` seconds.

        Raises:
            SamplerError: the sampling process failed or has died.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._set and self._queue is not None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self.content = self._queue.get(left)
                self._set = self.content["type"] == self._name
            except TimeoutError:
                return False
        return self._set
