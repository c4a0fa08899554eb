"""How monitor and sampler talk: JSON lines on two pipes, with the interface of events and a queue.

======================  =====================================================================
monitor to sampler      ``prepare`` (what to read, where to write), ``start``, ``watch`` (the
                        application has started or ended), ``stop``, ``close``
sampler to monitor      ``ready``, ``started``, ``stopped``, ``closed``, ``failed``
======================  =====================================================================

Pipes need no semaphores and no helper process, and the kernel tells each side when the other has died.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

from perun_like.errors import SamplerError

Message = dict[str, Any]

_CHUNK = 1 << 16


class Connection:
    """Messages on a pair of descriptors; each is a JSON object with a ``type``, on a line of its own."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._pending = b""

    def send(self, type_: str, **content: Any) -> None:
        """Send a message.

        Raises:
            SamplerError: the other side has gone.
        """
        line = json.dumps({"type": type_, **content}, separators=(",", ":")).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._write_fd, line) :]
        except OSError as error:
            raise SamplerError(f"the sampling process can't be reached: {error.strerror}") from error

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message, or None when none came in time.

        Raises:
            EOFError: the other side has gone and everything it sent was received.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            if not self._wait(deadline):
                return None
            chunk = os.read(self._read_fd, _CHUNK)
            if not chunk:
                raise EOFError("the other side has closed its pipe")
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        message: Message = json.loads(line)
        return message

    def _wait(self, deadline: float | None) -> bool:
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1e3
        return bool(poll.poll(left_ms))

    def close(self) -> None:
        """Close both descriptors. Safe to repeat."""
        for fd in {self._read_fd, self._write_fd} - {-1}:
            os.close(fd)
        self._read_fd = self._write_fd = -1


class Queue:
    """What the sampler reports, in order, with the reading half of ``multiprocessing.Queue``'s interface."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, timeout: float | None = None) -> Message:
        """The next report.

        Raises:
            TimeoutError: none came in ``timeout`` seconds.
            SamplerError: the sampling process failed or has died.
        """
        try:
            message = self._connection.receive(timeout)
        except EOFError as error:
            raise SamplerError("the sampling process has died") from error
        if message is None:
            raise TimeoutError(f"the sampling process did not answer within {timeout} s")
        if message["type"] == "failed":
            raise SamplerError(f"the sampling process failed: {message['reason']}")
        return message


class Event:
    """A flag that one side raises and the other sees, with ``multiprocessing.Event``'s interface.

    Args:
        name: The message that raises it.
        connection: Where that message is sent; None for a flag that only the sampler raises.
        queue: Where the message arrives; None for a flag that only the monitor raises.
    """

    def __init__(self, name: str, connection: Connection | None = None, queue: Queue | None = None) -> None:
        self._name = name
        self._connection = connection
        self._queue = queue
        self._set = False

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
                self._set = self._queue.get(left)["type"] == self._name
            except TimeoutError:
                return False
        return self._set
