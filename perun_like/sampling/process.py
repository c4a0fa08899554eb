"""The monitor's side of the sampling process: starting it, and its events and queue."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from perun_like.errors import SamplerError
from perun_like.sampling.protocol import Connection, Event, Queue
from perun_like.sampling.spawn import Spawned, spawn


class SamplerProcess:
    """A running sampler, with the part of ``multiprocessing.Process``'s interface that has a meaning here.

    Args:
        environ: As of :func:`~perun_like.sampling.spawn.spawn`, which starts it.
        executable: Likewise.
        orphan: Likewise.
        held: Likewise.
        spawned: One that has been started already.

    Raises:
        SamplerError: the interpreter could not be started.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        executable: str = sys.executable,
        *,
        orphan: bool = False,
        held: Sequence[int] = (),
        spawned: Spawned | None = None,
    ) -> None:
        try:
            started = spawned or spawn(environ, executable, orphan=orphan, held=held)
        except OSError as error:
            raise SamplerError(f"the sampling process can't be started: {executable}: {error.strerror}") from error
        self.pid = started.pid
        self.exitcode: int | None = None
        self._orphan = started.orphan
        self._connection = Connection(started.report_fd, started.command_fd)
        self.queue = Queue(self._connection)
        self.ready = Event("ready", queue=self.queue)
        self.start = Event("start", connection=self._connection)
        self.stop = Event("stop", connection=self._connection)
        self.close = Event("close", connection=self._connection)

    def send(self, type_: str, **content: Any) -> None:
        """Send a message that isn't an event."""
        self._connection.send(type_, **content)

    def wait_ready(self, timeout: float) -> None:
        """Wait until it can read.

        Raises:
            SamplerError: it failed, has died, or isn't ready in ``timeout`` seconds.
        """
        if not self.ready.wait(timeout):
            raise SamplerError(f"the sampling process was not ready within {timeout:g} s")
        if self._orphan:
            self._reap_starter()

    def wake(self) -> None:
        """Have it go on if somebody has stopped it: it is going to be waited for."""
        pid = self.ready.content.get("pid")
        if pid is not None and self.is_alive():
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(pid, signal.SIGCONT)

    def is_alive(self) -> bool:
        """Whether the process is still running."""
        if self._orphan:
            return self._connection.is_open()
        if self.exitcode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exitcode = os.waitstatus_to_exitcode(status)
        return self.exitcode is None

    def join(self, timeout: float) -> bool:
        """Wait until the process has ended; False when it hasn't in ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)  # it is ending: there is nothing to be woken by but its end
        return True

    def release(self, timeout: float = 1.0) -> None:
        """Let it go: close the pipes, and kill it if that doesn't end it. Safe to repeat."""
        self._connection.close()
        if self._orphan:
            self._reap_starter()
        elif self.exitcode is None and not self.join(timeout):
            os.kill(self.pid, signal.SIGKILL)
            self.join(max(timeout, 1.0))  # it can't refuse; not waiting for it would leave a zombie

    def disown(self) -> None:
        """In a forked child: close our copies of the pipes, so that the sampler notices when its monitor dies."""
        self._connection.close()

    def _reap_starter(self) -> None:
        """The process that was our child, and ended when it had started the one that samples."""
        with contextlib.suppress(ChildProcessError):  # the program has waited for it, or has done so before
            os.waitpid(self.pid, 0)
