"""Reads files as people would, with little memory, and tells what came of each."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import traceback
from collections.abc import Callable

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # whose buffers would count

import click

from perun_like.cli.export import export
from perun_like.cli.report import report
from perun_like.errors import PerunError
from perun_like.monitoring.recovery import recover_all
from perun_like.store.reader import read_recording

MOST_MEMORY_B = 3 << 29  # of addresses: Python, numpy and h5py alone take a third of it
GROWN_B = 300 << 20  # of memory, by a file of a few kB


def read_results(path: str) -> None:
    """Report, recording and exports."""
    errors = [error for read in (_shown, read_recording, _as_json, _as_csv) for error in _error_of(read, path)]
    if errors:
        raise errors[0]


def _error_of(read: Callable[[str], object], path: str) -> list[PerunError]:
    try:
        read(path)
    except PerunError as error:
        return [error]
    return []


def _shown(path: str) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        _called(report, run=path, colour=True)


def _as_json(path: str) -> None:
    _called(export, run=path, form="json", output=os.devnull)


def _as_csv(path: str) -> None:
    _called(export, run=path, form="csv", output=os.devnull)


def _called(command: click.Command, **arguments: object) -> None:
    assert command.callback is not None
    command.callback(**arguments)


def read_parts(path: str) -> None:
    """A results file, its report and its exports."""
    for outcome in recover_all(path):
        if outcome.error is not None:
            raise outcome.error
        for file in outcome.files:
            read_results(file)


def outcome_of(kind: str, path: str) -> str:
    """``read``, ``refused``, or what should not be, in one line."""
    before_b = _peak_b()
    try:
        {"part": read_parts, "results": read_results}[kind](path)
        said = "read"
    except PerunError as error:
        said = "refused"
        if isinstance(error.__cause__, MemoryError):
            said = "memory: it asks for more than there is"
        elif not any(name in str(error) for name in (os.path.basename(path), path, ".part")):
            said = f"nameless: {error}"
    except BaseException:  # noqa: BLE001 - that none is raised is what is to be found out
        said = "raised: " + " | ".join(traceback.format_exc().splitlines()[-6:])
    grown_b = _peak_b() - before_b
    return f"memory: it took {grown_b:,} bytes" if grown_b > GROWN_B else said


def _peak_b() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Answer each line of standard input with one."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_B, MOST_MEMORY_B))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _say("ready")
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split(" ", 1)
        _say(repr(outcome_of(kind, path)))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
