"""The monitor's side of the sampling process: starting it, and its events and queue."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from perun_like.errors import SamplerError
from perun_like.sampling.protocol import Connection, Event, Queue

# Launchers tell processes their rank through these; a process that sees them may believe that it is one.
_MPI_PREFIXES = ("PMI_", "PMIX_", "PMI2_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_", "I_MPI_")
_BOOT = "import sys; sys.path += sys.argv[1:]; from perun_like.sampling.sampler import main; main()"


class SamplerProcess:
    """A running sampler, with the part of ``multiprocessing.Process``'s interface that has a meaning here.

    It is a fresh isolated interpreter in a session of its own with no inherited descriptors, so that it neither sees
    what the application does to its own process group nor keeps anything of it open.

    Raises:
        SamplerError: the interpreter could not be started.
    """

    def __init__(self, environ: Mapping[str, str], executable: str = sys.executable) -> None:
        command_r, command_w = os.pipe()
        report_r, report_w = os.pipe()
        try:
            self.pid = _spawn(executable, environ, command_r, report_w)
        except OSError as error:
            raise SamplerError(f"the sampling process can't be started: {executable}: {error.strerror}") from error
        finally:
            os.close(command_r)
            os.close(report_w)
        self.exitcode: int | None = None
        self._connection = Connection(report_r, command_w)
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

    def is_alive(self) -> bool:
        """Whether the process is still running."""
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
        if self.exitcode is None and not self.join(timeout):
            os.kill(self.pid, signal.SIGKILL)
            self.join(max(timeout, 1.0))  # it can't refuse; not waiting for it would leave a zombie


def _spawn(executable: str, environ: Mapping[str, str], read_fd: int, write_fd: int) -> int:
    argv = [executable, "-I", "-S", "-c", _BOOT, *(os.path.abspath(path) for path in sys.path if path)]
    env = {key: value for key, value in environ.items() if not key.startswith(_MPI_PREFIXES)}
    actions = [
        (os.POSIX_SPAWN_DUP2, read_fd, 0),
        (os.POSIX_SPAWN_DUP2, write_fd, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    return os.posix_spawn(executable, argv, env, file_actions=actions, setsid=True, setsigmask=())
