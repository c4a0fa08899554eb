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
from perun_like.sampling.marks import RUN_VARIABLE
from perun_like.sampling.protocol import Connection, Event, Queue

# Launchers tell processes their rank through these; a process that sees them may believe that it is one.
_MPI_PREFIXES = ("PMI_", "PMIX_", "PMI2_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_", "I_MPI_")
_BOOT = "import sys; sys.path += sys.argv[1:]; from perun_like.sampling.serve import main; main({kept})"
_FAR = 200
_ORPHANED = "import os; os.fork() and os._exit(0); "


class SamplerProcess:
    """A running sampler, with the part of ``multiprocessing.Process``'s interface that has a meaning here.

    It is a fresh isolated interpreter in a session of its own with no inherited descriptors, so that it neither sees
    what the application does to its own process group nor keeps anything of it open.

    Args:
        environ: The environment it is given, less what would make it a rank or a part of the application.
        executable: A Python interpreter.
        orphan: Whether it shall not be our child for longer than its start takes: a program that waits for any of
            its children must not find one that it hasn't started.
        held: Descriptors that it holds open for as long as it lives.

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
    ) -> None:
        command_r, command_w = os.pipe()
        report_r, report_w = os.pipe()
        try:
            self.pid = _spawn(executable, environ, (command_r, report_w), held, orphan)
        except OSError as error:
            raise SamplerError(f"the sampling process can't be started: {executable}: {error.strerror}") from error
        finally:
            os.close(command_r)
            os.close(report_w)
        self.exitcode: int | None = None
        self._orphan = orphan
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
        if self._orphan:
            self._reap_starter()

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


def _spawn(
    executable: str, environ: Mapping[str, str], pipes: tuple[int, int], held: Sequence[int], orphan: bool
) -> int:
    boot = _ORPHANED * orphan + _BOOT.format(kept=len(held))
    argv = [executable, "-I", "-S", "-c", boot, *(os.path.abspath(path) for path in sys.path if path)]
    env = {key: value for key, value in environ.items() if not key.startswith((*_MPI_PREFIXES, RUN_VARIABLE))}
    actions = [
        (os.POSIX_SPAWN_DUP2, pipes[0], 0),
        (os.POSIX_SPAWN_DUP2, pipes[1], 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        # Not straight to their places: one of them may be where another one goes.
        *((os.POSIX_SPAWN_DUP2, fd, _FAR + i) for i, fd in enumerate(held)),
        *((os.POSIX_SPAWN_DUP2, _FAR + i, 3 + i) for i in range(len(held))),
    ]
    return os.posix_spawn(executable, argv, env, file_actions=actions, setsid=True, setsigmask=())
