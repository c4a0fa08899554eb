"""What the program must not notice of processes that work for us: their ends, and numbers of descriptors."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress


@contextmanager
def undisturbed() -> Generator[None, None, None]:
    """While processes of ours are started and waited for, leave the program's descriptors and signals alone."""
    with ExitStack() as stack:
        for fd in _standard_streams_closed():
            stack.callback(os.close, fd)
        stack.enter_context(_ends_unseen())
        yield


def _standard_streams_closed() -> list[int]:
    """Descriptors 0 to 2, as far as the program has closed them, kept from becoming pipes of ours meanwhile."""
    held: list[int] = []
    with suppress(OSError):
        while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) <= 2:
            held.append(fd)
        os.close(fd)
    return held


@contextmanager
def _ends_unseen() -> Generator[None, None, None]:
    """Don't have a handler of the program's called because a child of ours has ended."""
    if not callable(signal.getsignal(signal.SIGCHLD)):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        yield
    finally:
        if signal.SIGCHLD not in before:
            _take_back()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _take_back() -> None:
    """Take what is pending, and give it back if a child of the program's has ended as well."""
    if signal.SIGCHLD in signal.sigpending():
        signal.sigtimedwait({signal.SIGCHLD}, 0)
        with suppress(ChildProcessError):
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                os.kill(os.getpid(), signal.SIGCHLD)


@contextmanager
def patient() -> Generator[None, None, None]:
    """Have a first interrupt pass: without us the program would have ended before it. A second one is raised."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):  # ignored, or deadly, as the program wants it
        yield
        return
    try:
        signal.signal(signal.SIGINT, _heed_the_next)
    except ValueError:  # not the main thread, which alone is interrupted
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _heed_the_next(signum: int, frame: object) -> None:  # noqa: ARG001 - as Python calls it
    signal.signal(signal.SIGINT, signal.default_int_handler)
