"""Processes that try faults one after the other, each in a place apart where that can be had."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from perun_like.testing import FuseUnavailableError, simulated_powercap

from . import isolation, processes
from .attempt import Surroundings, attempt
from .catalogue import FAULTS
from .checks import Outcome
from .fault import Fault
from .groups import make_groups, remove_groups
from .machines import MACHINE

PROGRAM = (sys.executable, str(Path(__file__).parent))
_TRIES_S = 120.0  # how much longer than its two programs a try may take


class Worker:
    """A worker, seen from the campaign; one that dies or takes too long is replaced.

    Args:
        reason: Why it can't be apart; empty if it can.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self._groups: list[str] = [] if reason else make_groups(f"perun-faults-{os.urandom(4).hex()}")
        self._closed = False
        self._start()

    def _start(self) -> None:
        before = () if self._reason else isolation.COMMAND
        environ = {**os.environ, **isolation.environ(self._groups)}
        self._process = subprocess.Popen(
            [*before, *PROGRAM, "--worker", self._reason],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process, or the one that keeps it apart."""
        return self._process.pid

    def attempt(self, name: str, seed: int) -> Outcome:
        """Try a fault once."""
        token = os.urandom(8).hex()
        answer = self._ask([name, seed, token], _TRIES_S + 2 * FAULTS[name].length_s[1])
        if answer:
            return Outcome(**json.loads(answer))
        self._end()
        processes.kill_all(token)  # where it was not apart
        if not self._closed:
            self._start()
        return Outcome(name, seed, failed=f"the worker has died, or was still busy after {_TRIES_S:g} s")

    def _ask(self, question: object, limit_s: float) -> bytes:
        """Its answer, a line; nothing if it gives none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer, until_s = b"", time.monotonic() + limit_s
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        while not answer.endswith(b"\n"):
            if not select.select([self._process.stdout], [], [], max(0.0, until_s - time.monotonic()))[0]:
                return b""
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                return b""
            answer += piece
        return answer

    def _end(self) -> None:
        """End it at once, and with it all that it has started apart."""
        self._process.kill()
        with suppress(OSError):
            self._process.communicate()

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._end()
        remove_groups(self._groups)


def reason_not_apart() -> str:
    """Why faults can't be kept away from this machine; empty if they can."""
    command = [*isolation.COMMAND, *PROGRAM, "--probe"]
    environ = {**os.environ, **isolation.environ([])}
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it can be tried only apart from the machine: {error}"
    return "" if done.returncode == 0 else f"it can be tried only apart from the machine: {done.stderr.strip()[-300:]}"


def probe() -> int:
    """See whether a place apart can be had; the exit code."""
    try:
        isolation.enter()
    except isolation.NotApart as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def work(reason: str) -> None:
    """Be a worker: a line on standard input is a try, a line on standard output its outcome."""
    if not reason:
        isolation.enter()
    around = Surroundings(apart=not reason, reason=reason)
    with suppress(FuseUnavailableError), simulated_powercap(MACHINE) as around.powercap:
        _serve(around)
        return
    around.powercap = None
    _serve(around)


def _serve(around: Surroundings) -> None:
    answers = os.fdopen(os.dup(1), "w")  # what a program prints must not be taken for one
    os.dup2(2, 1)
    for line in sys.stdin:
        name, seed, token = json.loads(line)
        fault: Fault = FAULTS[name]
        outcome = attempt(fault, seed, around, token)
        answers.write(json.dumps(asdict(outcome)) + "\n")
        answers.flush()
