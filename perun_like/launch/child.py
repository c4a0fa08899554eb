"""Starting the application as a child and waiting for it, as ``time`` or ``perf stat`` do.

The child has our standard streams, directory, inherited descriptors, signal mask and ignored signals; what differs is
its parent. It dies with us (Linux).
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from perun_like.errors import CannotExecuteError, InterruptedStartError

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_GROWTH_B = 1 << 20  # of a child between measuring itself and exec: up to 280 KiB were seen
_NUMBER = struct.Struct("<q")
_WAKE_EVERY_S = 0.05
_GRACE_S = 0.05  # a child that got the same signal as we did has this long to end of itself

# Signals that end a process unless it says otherwise, and that people and job systems send.
_RELAYED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGXCPU", "SIGPWR", "SIGIO")


class Ending(NamedTuple):
    """How a child ended.

    Attributes:
        status: As ``os.wait4`` gave it.
        cpu_s: User and system time of the child and its descendants that were waited for.
        max_rss_b: Largest resident set of any of them.
        stop_ns: CLOCK_MONOTONIC when it was reaped.
    """

    status: int
    cpu_s: float
    max_rss_b: int
    stop_ns: int

    @property
    def signal(self) -> int | None:
        """The signal that ended it; None if it exited."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    @property
    def exit_code(self) -> int | None:
        """What it exited with; None if a signal ended it."""
        return None if self.signal is not None else os.waitstatus_to_exitcode(self.status)


class SignalGate:
    """Signals held back in this process so that it outlives the child and can hand on what is meant for it.

    Blocking rather than handling keeps two things: who sent a signal can be asked, and none is lost between two
    instructions. ``child_state`` gives the child what there was before the gate.

    Attributes:
        threads: How many threads of this process hold them back: its first, and those that it has started since.
    """

    def __init__(self) -> None:
        self.threads = 1
        self._ignored_child = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        if self._ignored_child:  # ignored, it would have the child reaped behind our back
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        present = [getattr(signal, name) for name in _RELAYED if hasattr(signal, name)]
        self.relayed = frozenset(number for number in present if signal.getsignal(number) != signal.SIG_IGN)
        self.old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*self.relayed, signal.SIGCHLD})

    def child_state(self) -> None:
        """Called in the child before exec: handlers become defaults by themselves, masks and ignored signals don't."""
        for name in ("SIGPIPE", "SIGXFSZ"):  # ignored by Python's start-up, not by whoever started us
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        if self._ignored_child:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.old_mask)

    def close(self) -> None:
        """Let signals through again."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self.old_mask)
        if self._ignored_child:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)


class Child:
    """A running application.

    Args:
        argv: The program, found through ``PATH`` unless it has a slash, and its arguments.
        environ: Its environment.
        gate: The open signal gate.

    Attributes:
        floor_rss_b: What the kernel counts as the child's resident set although it was ours: the copy of us that it was
            between fork and exec. ``Ending.max_rss_b`` can't be less.

    Raises:
        CannotExecuteError: there is no such program, it is not executable, or no process can be made.
        InterruptedStartError: a signal to end came before.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], gate: SignalGate) -> None:
        self._gate = gate
        self._die_with_parent = _prctl()
        path = find_executable(argv[0], environ)
        if pending := signal.sigpending() & gate.relayed:
            raise InterruptedStartError(min(pending))
        report_r, report_w = os.pipe()
        parent = os.getpid()
        self.start_ns = time.monotonic_ns()
        try:
            self.pid = os.fork()
        except OSError as error:  # a limit on processes, say
            os.close(report_r)
            os.close(report_w)
            raise CannotExecuteError(argv[0], error.errno or errno.EAGAIN) from error
        if self.pid == 0:
            self._become(path, argv, environ, report_w, parent)
        os.close(report_w)
        self.floor_rss_b = self._confirm(argv[0], report_r)

    def wait(self) -> Ending:
        """Wait until it ends, handing on the signals that were meant for it.

        With threads in this process that don't hold signals back nothing is handed on: the kernel gives them to any
        such thread, SIGCHLD too, so that waiting for signals could wait for ever.
        """
        if _threads() > self._gate.threads:
            return self._ending(*os.wait4(self.pid, 0)[1:])
        awaited = {*self._gate.relayed, signal.SIGCHLD}
        while (ending := self._reap()) is None:
            info = signal.sigwaitinfo(awaited)
            if info.si_signo != signal.SIGCHLD:
                ending = self._relay(info)
                if ending is not None:
                    return ending
        return ending

    def _relay(self, info: signal.struct_siginfo) -> Ending | None:
        """Hand a signal on if a process sent it to us; what the terminal sent, the child has got itself."""
        if info.si_code > 0 and not _is_hang_up_for_us_alone(info.si_signo):
            return None
        # Sent to our whole process group, the child has it too and may be ending already.
        signal.sigtimedwait({signal.SIGCHLD}, _GRACE_S)
        ending = self._reap()
        if ending is None:
            os.kill(self.pid, info.si_signo)
        return ending

    def _reap(self) -> Ending | None:
        pid, status, usage = os.wait4(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            self._stop_too()
            return None
        return self._ending(status, usage) if pid else None

    def _stop_too(self) -> None:
        """Stop with a program that has stopped, so that whoever controls the job sees it; go on with it too."""
        if self._is_stopped():  # else it has been continued in the meantime, with us
            waker = self._start_waker()
            os.kill(os.getpid(), signal.SIGSTOP)
            if waker is not None:
                os.kill(waker, signal.SIGKILL)
                os.waitpid(waker, 0)
            if self._is_stopped():
                os.kill(self.pid, signal.SIGCONT)

    def _start_waker(self) -> int | None:
        """A process that has us go on when the program does: who continues it need not know of us."""
        parent = os.getpid()
        try:
            waker = os.fork()
        except OSError:
            return None  # a limit on processes: then whoever continues the program has to continue us
        if waker == 0:
            try:
                os.setsid()  # it must not be stopped with us
                self._die_with_parent(_PR_SET_PDEATHSIG, signal.SIGKILL)
                while os.getppid() == parent:
                    time.sleep(_WAKE_EVERY_S)
                    if not self._is_stopped():
                        os.kill(parent, signal.SIGCONT)
            finally:
                os._exit(0)
        return waker

    def _is_stopped(self) -> bool:
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] == b"T"
        except OSError:
            return False  # not Linux: as under time(1)

    @staticmethod
    def _ending(status: int, usage: resource.struct_rusage) -> Ending:
        return Ending(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, time.monotonic_ns())

    def _become(self, path: str, argv: Sequence[str], environ: Mapping[str, str], report_w: int, parent: int) -> None:
        """In the child: turn into the application, or say why not and end."""
        number = errno.ENOEXEC
        try:
            self._gate.child_state()
            self._die_with_parent(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we asked to die with it
                os._exit(1)
            os.write(report_w, _NUMBER.pack(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
            _exec(path, argv, environ)
        except OSError as error:
            number = error.errno or number
        finally:
            os.write(report_w, _NUMBER.pack(number))
            os._exit(127)

    def _confirm(self, program: str, report_r: int) -> int:
        """Wait for exec; returns the resident set of the child just before, in bytes."""
        with open(report_r, "rb") as report:  # closed by a successful exec
            numbers = [number for (number,) in _NUMBER.iter_unpack(report.read())]
        if len(numbers) != 1:
            os.waitpid(self.pid, 0)
            raise CannotExecuteError(program, numbers[-1] if numbers else errno.EAGAIN)
        return int(numbers[0]) * 1024 + _GROWTH_B


def _is_hang_up_for_us_alone(number: int) -> bool:
    """Whether a signal of the kernel's says that the terminal is gone: it tells that to the leader of its session only.

    A shell that leads would end, and the kernel then tell the others. Where the shell has become us, we have to.
    """
    return number == signal.SIGHUP and os.getsid(0) == os.getpid()


def _threads() -> int:
    """How many threads this process has."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def find_executable(program: str, environ: Mapping[str, str]) -> str:
    """The file that a shell would run for this name.

    Raises:
        CannotExecuteError: there is none, or none that may be executed.
    """
    candidates = [program] if "/" in program else [f"{d or '.'}/{program}" for d in os.get_exec_path(dict(environ))]
    files = [path for path in candidates if os.path.exists(path)]
    if not files:
        raise CannotExecuteError(program, errno.ENOENT)
    for path in files:
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise CannotExecuteError(program, errno.EISDIR if os.path.isdir(files[0]) else errno.EACCES)


def _exec(path: str, argv: Sequence[str], environ: Mapping[str, str]) -> None:
    try:
        os.execve(path, list(argv), dict(environ))  # noqa: S606 - the user's program, as it was asked for
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # A script without a first line that names its interpreter: shells and execvp(3) hand it to sh.
        os.execve("/bin/sh", ["/bin/sh", path, *argv[1:]], dict(environ))  # noqa: S606 - likewise


def _prctl() -> Callable[[int, int], int]:
    """prctl(2), looked up before forking; elsewhere than on Linux a function that does nothing."""
    if sys.platform != "linux":
        return lambda _option, _value: 0
    import ctypes

    function = ctypes.CDLL(None).prctl
    return lambda option, value: int(function(option, value, 0, 0, 0))


def end_like(ending: Ending) -> NoReturn:
    """End this process as the child ended: with its exit code, or by its signal and without a second core dump."""
    if ending.signal is not None:
        end_by(ending.signal)
    # Not sys.exit: taking down an interpreter that has numpy and h5py loaded takes 10 ms, in which nothing is done.
    os._exit(ending.exit_code or 0)


def end_by(number: int) -> NoReturn:
    """End this process by a signal, without a core dump."""
    _prctl()(_PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # a signal whose default is to be ignored


def original_environ() -> dict[str, str]:
    """The environment this process was started with.

    Python's start-up may add ``LC_CTYPE`` to it (PEP 538), which the application would not have had.
    """
    environ = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as file:
            started_with = {entry.partition(b"=")[0] for entry in file.read().split(b"\0")}
    except OSError:
        return environ
    if b"LC_CTYPE" not in started_with:
        environ.pop("LC_CTYPE", None)
    return environ
