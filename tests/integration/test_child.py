"""Starting a program and waiting for it, from inside a process that has a life of its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from perun_like.errors import CannotExecuteError, InterruptedStartError
from perun_like.launch.child import Child, SignalGate


@pytest.fixture
def gate() -> Iterator[SignalGate]:
    opened = SignalGate()
    yield opened
    opened.close()


def test_a_signal_that_comes_before_the_program_keeps_it_from_being_started(gate: SignalGate) -> None:
    signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(InterruptedStartError, match="SIGUSR1") as raised:
        Child(["/bin/true"], {}, gate)
    assert raised.value.exit_code == 128 + signal.SIGUSR1
    assert signal.sigwait({signal.SIGUSR1}) == signal.SIGUSR1


def test_waiting_ends_beside_threads_that_take_our_signals(gate: SignalGate) -> None:
    done = threading.Event()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    idle = [threading.Thread(target=done.wait) for _ in range(2)]
    for thread in idle:
        thread.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        codes = [Child(["/bin/sh", "-c", f"exit {i % 7}"], {}, gate).wait().exit_code for i in range(200)]
    finally:
        done.set()
    assert codes == [i % 7 for i in range(200)]


@pytest.mark.parametrize(
    ("program", "code"), [("/no/such", 127), ("no-such-command", 127), ("/", 126), ("/etc/passwd", 126)]
)
def test_what_cannot_be_executed(gate: SignalGate, program: str, code: int) -> None:
    with pytest.raises(CannotExecuteError) as raised:
        Child([program], {"PATH": "/bin"}, gate)
    assert raised.value.exit_code == code


def test_nothing_is_left_open(gate: SignalGate) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    Child(["/bin/true"], {}, gate).wait()
    with pytest.raises(CannotExecuteError):
        Child(["/no/such"], {}, gate)
    assert sorted(os.listdir("/proc/self/fd")) == before
