"""Starting a sampling process, with as little as can be imported for it: the application waits for both."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing to know this would take as long as all else here
    from collections.abc import Mapping, Sequence

RUN_VARIABLE = "PERUN_RUN"  # where a process of the application writes its marks

# Launchers tell processes their rank through these; a process that sees them may believe that it is one.
_MPI_PREFIXES = ("PMI_", "PMIX_", "PMI2_", "OMPI_", "PRTE_", "HYDRA_", "HYDI_", "MPI_", "I_MPI_")
_BOOT = (
    "import gc, sys; gc.disable(); sys.path += sys.argv[1:]; from perun_like.sampling.serve import main; main({kept})"
)
# One heap for all threads, of which one at a time does anything. With a heap for each, memory needs 1.3 MiB more and
# grows for hours, as what one thread frees is of no use to the others.
_HEAPS = {"MALLOC_ARENA_MAX": "1"}
_FAR = 200
_ORPHANED = "import os; os.fork() and os._exit(0); "


class Spawned:
    """A process that has been started, and our ends of the pipes to it.

    Attributes:
        pid: Our child: the process itself or, of an orphan, the one that starts it.
        report_fd: What it reports can be read here.
        command_fd: What it shall do is written here.
        orphan: Whether it is not our child for longer than its start takes.
    """

    def __init__(self, pid: int, report_fd: int, command_fd: int, orphan: bool) -> None:
        self.pid, self.report_fd, self.command_fd, self.orphan = pid, report_fd, command_fd, orphan


def spawn(
    environ: Mapping[str, str], executable: str = sys.executable, *, orphan: bool = False, held: Sequence[int] = ()
) -> Spawned:
    """Start a fresh isolated interpreter that samples.

    It is in a session of its own with no inherited descriptors, so that it neither sees what the application does to
    its own process group nor keeps anything of it open.

    Args:
        environ: The environment it is given, less what would make it a rank or a part of the application.
        executable: A Python interpreter.
        orphan: Whether it shall not be our child for longer than its start takes: a program that waits for any of
            its children must not find one that it hasn't started.
        held: Descriptors that it holds open for as long as it lives.

    Raises:
        OSError: it can't be started.
    """
    command_r, command_w = os.pipe()
    report_r, report_w = os.pipe()
    try:
        pid = _spawn(executable, environ, (command_r, report_w), held, orphan)
    except OSError:
        os.close(report_r)
        os.close(command_w)
        raise
    finally:
        os.close(command_r)
        os.close(report_w)
    return Spawned(pid, report_r, command_w, orphan)


def _spawn(
    executable: str, environ: Mapping[str, str], pipes: tuple[int, int], held: Sequence[int], orphan: bool
) -> int:
    boot = _ORPHANED * orphan + _BOOT.format(kept=len(held))
    argv = [executable, "-I", "-S", "-c", boot, *(os.path.abspath(path) for path in sys.path if path)]
    given = {key: value for key, value in environ.items() if not key.startswith((*_MPI_PREFIXES, RUN_VARIABLE))}
    env = {**given, **_HEAPS}
    actions = [
        (os.POSIX_SPAWN_DUP2, pipes[0], 0),
        (os.POSIX_SPAWN_DUP2, pipes[1], 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        # Not straight to their places: one of them may be where another one goes.
        *((os.POSIX_SPAWN_DUP2, fd, _FAR + i) for i, fd in enumerate(held)),
        *((os.POSIX_SPAWN_DUP2, _FAR + i, 3 + i) for i in range(len(held))),
    ]
    return os.posix_spawn(executable, argv, env, file_actions=actions, setsid=True, setsigmask=())
