"""Profiling a program from the command line, without what parses command lines.

``perun-like profile`` is parsed here as long as it is plain; help and mistakes are left to click, whose import takes as
long as an interpreter's start, and the application's first line waits for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from perun_like.config import OPTIONS, Settings, check_powercap_root, resolve
from perun_like.errors import InputError, InterruptedStartError
from perun_like.launch.child import SignalGate, end_by, end_like, original_environ
from perun_like.launch.launchers import detect
from perun_like.monitoring.application import Application
from perun_like.monitoring.metadata import check_place
from perun_like.monitoring.monitor import PerunMonitor
from perun_like.monitoring.status import MonitorStatus
from perun_like.sensing.discovery import chosen_specs
from perun_like.store.place import new_run_id

if TYPE_CHECKING:
    from perun_like.model.node import DataNode
    from perun_like.sampling.process import SamplerProcess


class Program(NamedTuple):
    """What follows our own options: which kind of program, which one, and its arguments."""

    kind: str
    target: str
    args: tuple[str, ...]


def split_program(args: list[str], valued: set[str]) -> tuple[list[str], Program | None]:
    """Our options, and the program that follows them; None if there is none.

    Args:
        args: The command line.
        valued: Those of our options that take a value.
    """
    at = 0
    while at < len(args):
        word, rest = args[at], args[at + 1 :]
        if word == "--" or word == "-m":
            kind = "executable" if word == "--" else "module"
            return args[:at], Program(kind, rest[0], tuple(rest[1:])) if rest else None
        if word.startswith("-m") and not word.startswith("--"):
            return args[:at], Program("module", word[2:], tuple(rest))
        if word == "-" or not word.startswith("-"):
            return args[:at], Program("script", word, tuple(rest))
        at += 2 if word in valued else 1
    return args, None


def plain(args: list[str]) -> tuple[dict[str, object], Program] | None:
    """Options and program of a command line that says nothing but these.

    Args:
        args: What follows ``perun-like profile``.

    Returns:
        Options by setting, as :func:`perun_like.config.resolve` takes them; None where help is asked for, no program
        is given, or an option isn't one.
    """
    valued = {option.flag: option for option in OPTIONS if not option.is_flag}
    flags = {option.flag: (option.field, False) for option in OPTIONS if option.is_flag}
    flags |= {option.opposite: (option.field, True) for option in OPTIONS if option.is_flag}
    ours, program = split_program(args, set(valued))
    given: dict[str, object] = {}
    words = iter(ours)
    for word in words:
        name, equals, text = word.partition("=")
        if word in flags:
            field, value = flags[word]
            given[field] = value
            continue
        value_given = text if equals else next(words, None)
        if name not in valued or value_given is None:
            return None
        field = valued[name].field
        given[field] = (*_texts(given.get(field)), value_given) if valued[name].multiple else value_given
    return None if program is None else (given, program)


def _texts(given: object) -> tuple[object, ...]:
    return given if isinstance(given, tuple) else ()


def run(program: Program, options: Mapping[str, object], sampler: SamplerProcess | None) -> NoReturn:
    """Run a program, measure it, show the report, end as the program ended.

    Args:
        program: What to run.
        options: By setting.
        sampler: A sampling process that has been started already.

    Raises:
        PerunError: nothing was run.
        SystemExit: nothing was run, for a reason that has been told.
    """
    settings = resolve(_directory(), os.environ, options)
    check_powercap_root(settings)
    try:
        check_place(settings.country)
    except InputError as error:
        raise InputError(f"{settings.origins['country']}: {error}") from None
    _check_writable(settings.json)
    environ = original_environ()
    _check_repeatable(settings, program, environ)
    _quiet_libraries()
    application = _application(program, environ, settings)
    backends = chosen_specs(sys.path, settings.backend)
    comm = detect(environ, settings.run_id)
    if comm.problem is not None:
        _say(f"perun-like: {comm.problem}\n")
    monitor = PerunMonitor(application, comm, backends, {}, settings, sampler, SignalGate())
    try:
        status, tree, _ = monitor.run_application(settings.run_id or new_run_id())
    except InterruptedStartError as error:
        monitor.close()
        end_by(error.signal)
    finally:
        monitor.close()
    if monitor.problem is not None and comm.job_id is not None:
        from perun_like.monitoring.shared import is_first_to_say

        if not is_first_to_say(comm, monitor.problem):
            monitor.problem = None
    _show(monitor, status, tree, settings)
    if monitor.ending is None:
        sys.exit(monitor.exit_code)
    end_like(monitor.ending)


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        raise InputError("the current directory has been deleted: change to one that exists") from None


def _quiet_libraries() -> None:
    """Keep what is set for the program from reaching the libraries that save the results in this process.

    A virtual object layer or driver that HDF5 can't load here would crash us; threads for linear algebra that never
    happens would cost time and memory.
    """
    for name in ("HDF5_VOL_CONNECTOR", "HDF5_DRIVER"):
        os.environ.pop(name, None)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _application(program: Program, environ: dict[str, str], settings: Settings) -> Application:
    if program.kind == "executable":
        return Application.executable(program.target, program.args, environ)
    make = Application.module if program.kind == "module" else Application.script
    return make(program.target, program.args, environ, settings.python)


def _check_repeatable(settings: Settings, program: Program, environ: dict[str, str]) -> None:
    """Refuse to run a program several times where the second time couldn't be like the first."""
    if settings.rounds + settings.warmup == 1:
        return
    asked = f"--rounds {settings.rounds}" if settings.rounds > 1 else f"--warmup {settings.warmup}"
    launcher = detect(environ).launcher
    if launcher is not None:
        raise InputError(
            f"{asked}: a program can't be run again within one launch of {launcher}: MPI starts once. Repeat the "
            "launch (for i in 1 2 3; do mpirun … perun-like profile …; done), or decorate a function with "
            "perun_like.profile and call it repeatedly"
        )
    if program.target == "-" and program.kind == "script":
        raise InputError(f"{asked}: a program from standard input can be read only once: give it as a file")


def _check_writable(json: str | None) -> None:
    if json is None or json == "-":
        return
    if not os.access(os.path.dirname(json) or ".", os.W_OK):
        raise InputError(f"--json {json}: the directory does not exist or can't be written")
    if os.path.isdir(json):
        raise InputError(f"--json {json}: that is a directory: give the name of a file")


def _show(monitor: PerunMonitor, status: MonitorStatus, tree: DataNode | None, settings: Settings) -> None:
    """JSON, problems and report. Nothing here may change how the program's end is told to our caller."""
    if tree is not None and settings.json is not None:
        from perun_like.report.json import write

        try:
            write(tree, settings.json)
        except OSError as error:
            _say(f"perun-like: --json {settings.json}: {error.strerror}\n")
    reported = tree is not None and settings.report
    if monitor.problem is not None and not (reported and status is MonitorStatus.SP_ERROR):
        _say(f"perun-like: {monitor.problem}\n")  # the report tells what happened to the sampler
    if tree is not None and reported and sys.stderr is not None:
        from perun_like.report.terminal import text_for

        _say(text_for(sys.stderr, tree, path=monitor.path))


def _say(text: str) -> None:
    """Write to standard error, if there is anyone who listens."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
