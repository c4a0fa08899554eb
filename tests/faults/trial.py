"""One try of one fault: a program is started, with us or without, and something happens to it."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perun_like.testing import SimulatedPowercap

from . import processes
from .fault import Fate, Fault, harmless
from .programs import NEVER_PROFILES, PROFILES

PERUN = str(Path(sys.executable).with_name("perun-like"))
BEGINS_S = 20.0  # a program that has not begun by then never will
OURS = f"/dev/shm/perun-{os.getuid()}"


@dataclass
class Trial:
    """One try.

    Attributes:
        fault: Of what.
        directory: Where it happens; empty at first.
        random: What all choices come from.
        environ: Variables that the command gets.
        powercap: The counters that it has; None if there can be none here.
        apart: Whether nothing of this machine can be written.
        bare: Whether the program runs without us.
        options: Of ``perun-like profile``.
        prefix: Command and options before ours.
        popen: More arguments of :class:`subprocess.Popen`.
        stack: What is done when all is over.
        afterwards: What is done when the command has ended, before anybody looks at what is left.
        terminal: The other side of the command's terminal, if it has one.
        struck_ns: When it happened, CLOCK_MONOTONIC.
        cuts: Whether sampling has ended with it.
        apps: The processes of the application that have begun.
    """

    fault: Fault
    directory: Path
    random: random.Random
    environ: dict[str, str]
    powercap: SimulatedPowercap | None = None
    apart: bool = False
    bare: bool = False
    options: list[str] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)
    popen: dict[str, Any] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    terminal: int = -1
    struck_ns: int = 0

    def __post_init__(self) -> None:
        self.token = self.environ[processes.TOKEN]
        self.length_s = self.fault.length_s[0] if self.bare else self.random.uniform(*self.fault.length_s)
        self.process: subprocess.Popen[bytes]
        self.apps: list[int] = []
        self.cuts = self.fault.cuts
        self.hung = False

    @property
    def app(self) -> int | None:
        """The application's process; None if it has not begun."""
        return self.apps[0] if self.apps else None

    @property
    def results(self) -> Path:
        """Where results go."""
        return self.directory / "results"

    def text(self, name: str) -> str:
        """What the command has printed: ``out`` or ``err``."""
        return (self.directory / name).read_text(errors="replace")

    def run(self) -> Fate:
        """Start it, strike, and wait for the end."""
        self.start()
        try:
            if not self.fault.at_start:
                self.await_begin()
            self.struck_ns = time.monotonic_ns()
            self.fault.strike(self)
            self.hung = not processes.await_end(self.process.pid, self.length_s + self.fault.ends_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            code = self.process.wait()
            self.read_begin()
        return Fate(code, self.text("out"))

    def start(self) -> None:
        """Start the command."""
        source = self.fault.program.replace(PROFILES, NEVER_PROFILES) if self.bare else self.fault.program
        (self.directory / "app.py").write_text(source)
        os.mkfifo(self.directory / "begun")
        self._begun = os.open(self.directory / "begun", os.O_RDONLY | os.O_NONBLOCK)
        self.stack.callback(os.close, self._begun)
        with open(self.directory / "out", "wb") as out, open(self.directory / "err", "wb") as err:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
            settings: Mapping[str, Any] = {**streams, "start_new_session": True, **self.popen}
            self.process = subprocess.Popen(self.command(), cwd=self.directory, env=self.environ, **settings)

    def command(self) -> list[str]:
        """The program's command line, behind ours or not."""
        arguments = ["app.py", f"{self.length_s:.3f}"]
        if self.bare or self.fault.in_place:
            return [*self.prefix, sys.executable, *arguments]
        ours = [PERUN, "profile", "--name", "app", "--period", "10ms", *self.fault.options, *self.options]
        return [*self.prefix, *ours, *arguments]

    def prefixed(self, *words: str) -> None:
        """Have a command before ours."""
        self.prefix += words

    def in_shell(self, line: str) -> None:
        """Have a shell do something before it becomes our command."""
        self.prefixed("bash", "-c", f'{line}; exec "$@"', "bash")

    def await_begin(self) -> None:
        """Wait until the program says that it works."""
        end = os.pidfd_open(self.process.pid)
        try:
            while len(self.apps) < self.fault.ranks:
                if self._begun not in select.select([self._begun, end], [], [], BEGINS_S)[0]:
                    said = self.text("err")[-2000:]
                    raise AssertionError(
                        f"the program has not begun; the command ended as {self.process.poll()}: {said}"
                    )
                self.read_begin()
        finally:
            os.close(end)

    def read_begin(self) -> None:
        """Learn the pids of those that have begun."""
        with suppress(BlockingIOError):
            self.apps += map(int, os.read(self._begun, 1024).split())

    def remove(self, path: Path) -> None:
        """Remove a directory of this trial, or of ours in the worker's own memory: nothing else, nothing in a bare run.

        Raises:
            Harmful: what is removed here might be somebody's.
        """
        if self.bare or not path.is_dir():
            return
        harmless(self.apart, f"{path} would be removed on a machine that can be written")
        real = str(path.resolve())
        harmless(real == str(path), f"{path} leads elsewhere")
        ours = real == OURS or real.startswith((f"{OURS}/", f"{self.directory}/"))
        harmless(ours, f"{path} is not this trial's")
        shutil.rmtree(path, ignore_errors=True)

    # What strikes are made of.

    def moment(self, most_s: float | None = None) -> None:
        """Let a random time pass, within the program's or shorter than that."""
        self.pause(0.7 * self.length_s if most_s is None else most_s)
        self.struck_ns = time.monotonic_ns()

    def pause(self, most_s: float) -> None:
        """Let a random time pass that is shorter than this."""
        time.sleep(self.random.uniform(0, most_s))

    def pids(self, role: str) -> list[int]:
        """Living processes of a role; without us the command is the application."""
        if role == "app" and self.apps:
            return self.apps
        if self.bare:
            return [self.process.pid] if role in ("app", "profiler") else []
        if role == "profiler" and not self.prefix:
            return [self.process.pid]
        return [seen.pid for seen in processes.of_trial(self.token) if seen.role == role]

    def kill(self, *roles: str, after: Callable[[], None] | None = None, number: int = signal.SIGKILL) -> None:
        """Send a signal to all processes of these roles at a random moment, as quickly as can be.

        Args:
            roles: Of whom.
            after: Lets the time pass; a moment within the program's by default.
            number: Which signal.
        """
        pids = [pid for role in roles for pid in self.pids(role)]  # looked up before: that takes its time
        (after or self.moment)()
        for pid in pids:
            processes.send(pid, number)

    def await_app(self) -> None:
        """Wait until the application has ended."""
        for pid in self.apps:
            processes.await_end(pid, self.length_s + BEGINS_S)
