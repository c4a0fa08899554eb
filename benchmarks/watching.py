"""A run of ours as a benchmark sees it from outside: the sampling process, what it costs, what it has kept."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

from harness import PERUN, clean_environ

_SAMPLER = b"perun_like.sampling.serve"
_PATIENCE_S = 20.0


class Watched:
    """A program under ``perun-like profile``.

    Attributes:
        directory: Where it runs, with its results.
        process: The profiler.
    """

    def __init__(self, directory: str, process: subprocess.Popen[str]) -> None:
        self.directory, self.process = directory, process
        self._sampler: int | None = None

    @property
    def sampler(self) -> int:
        """The pid of the sampling process, once it is there."""
        deadline = time.monotonic() + _PATIENCE_S
        while self._sampler is None:
            found = [pid for pid in children(self.process.pid) if _SAMPLER in _read(f"/proc/{pid}/cmdline")]
            self._sampler = found[0] if found else None
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("there is no sampling process")
            time.sleep(0.01)
        return self._sampler

    def finish(self) -> str:
        """Wait for the program's end; what it printed.

        Raises:
            CalledProcessError: it failed.
        """
        said, complaints = self.process.communicate()
        if self.process.returncode:
            raise subprocess.CalledProcessError(self.process.returncode, PERUN, said, complaints)
        return said

    @property
    def file(self) -> str:
        """The results file, after the end."""
        (path,) = glob.glob(os.path.join(self.directory, "perun_results", "*", "*.h5"))
        return path


@contextmanager
def watched(
    program: Sequence[str], *options: str, environ: Mapping[str, str] | None = None
) -> Generator[Watched, None, None]:
    """Profile a program in a directory of its own, without a report."""
    directory = tempfile.mkdtemp(prefix="perun-benchmark-")
    command = [PERUN, "profile", "--no-report", *options, "--", *program]
    process = subprocess.Popen(
        command,
        cwd=directory,
        env={**clean_environ(), **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Watched(directory, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # with all that the program has started
            process.communicate()
        shutil.rmtree(directory)


def children(pid: int) -> list[int]:
    """The children of a process."""
    found: list[int] = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        found += [int(child) for child in _read(path).split()]
    return found


def cpu_ns(pid: int) -> int:
    """CPU time of a process so far, to the nanosecond: its own clock, by the number Linux gives it."""
    return time.clock_gettime_ns(~pid << 3 | 2)


def memory_b(pid: int) -> tuple[int, int]:
    """Anonymous and resident memory of a process."""
    fields = dict(line.split(b":", 1) for line in _read(f"/proc/{pid}/status").splitlines())
    anonymous, resident = (int(fields[name].split()[0]) * 1024 for name in (b"RssAnon", b"VmRSS"))
    return anonymous, resident


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
