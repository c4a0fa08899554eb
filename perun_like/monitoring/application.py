"""What is watched: a Python script, a module or any executable, as a child process; or a function, in place."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from perun_like.errors import CannotExecuteError, InputError, ProgramNotFoundError
from perun_like.launch.child import find_executable

_PYTHON_ENVIRONMENTS = ("VIRTUAL_ENV", "CONDA_PREFIX")


class Application(NamedTuple):
    """A program or function and its arguments, ready to be started.

    Attributes:
        name: What its results are filed under.
        argv: The command to execute; empty for a function.
        environ: The environment it gets.
        interpreter: The Python that runs a script or module; None for an executable.
        call: The function with its arguments; None for a program.
        place: Where the function stands, for people.
    """

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    interpreter: str | None = None
    call: Callable[[], Any] | None = None
    place: str | None = None

    @classmethod
    def script(
        cls, path: str, args: Sequence[str], environ: Mapping[str, str], python: str | None = None
    ) -> Application:
        """A Python file, a directory or archive that Python can run, or ``-`` for the standard input.

        Something that isn't a file here but is a command (``perun-like profile python x.py``) is run as that command.

        Raises:
            ProgramNotFoundError: there is no such file or command.
            InputError: the file is not Python.
        """
        if path != "-" and not os.path.exists(path):
            return cls._command_meant(path, args, environ)
        if path != "-" and (kind := _foreign_kind(path)) is not None:
            raise InputError(
                f"{path} is not a Python file but {kind}: to profile an executable, write "
                f"perun-like profile -- {_as_command(path)}"
            )
        interpreter = find_interpreter(environ, python)
        return cls(_stem(path), (interpreter, path, *args), environ, interpreter)

    @classmethod
    def module(
        cls, module: str, args: Sequence[str], environ: Mapping[str, str], python: str | None = None
    ) -> Application:
        """A module, as ``python -m`` runs it."""
        interpreter = find_interpreter(environ, python)
        return cls(file_name(module), (interpreter, "-m", module, *args), environ, interpreter)

    @classmethod
    def executable(cls, program: str, args: Sequence[str], environ: Mapping[str, str]) -> Application:
        """Any program, found as a shell finds it.

        Raises:
            CannotExecuteError: there is no such program, or it may not be executed.
        """
        find_executable(program, environ)
        return cls(_stem(program), (program, *args), environ)

    @classmethod
    def function(
        cls,
        function: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Application:
        """A function of this process, called in place.

        Raises:
            InputError: it can't be called, or calling it would only make a coroutine or generator and run nothing.
        """
        from perun_like.monitoring.wrapping import kind_of  # programs don't need it

        if not callable(function):
            raise InputError(f"{function!r} can't be called: give a function and, apart from it, its arguments")
        if (kind := kind_of(function)) != "function":
            raise InputError(
                f"calling the {kind} {name_of_function(function)} would run nothing: give a function that runs it, "
                "such as lambda: asyncio.run(…), or decorate it with @profile"
            )
        call = partial(function, *args, **(kwargs or {}))
        named = name or name_of_function(function)
        return cls(file_name(named), (), os.environ, sys.executable, call, place_of_function(function))

    @classmethod
    def _command_meant(cls, program: str, args: Sequence[str], environ: Mapping[str, str]) -> Application:
        try:
            return cls.executable(program, args, environ)
        except CannotExecuteError:
            raise ProgramNotFoundError(
                f"can't open {program!r}: there is no such file in {os.getcwd()}, and no such command; "
                "give the path of a Python script, -m MODULE, or -- EXECUTABLE"
            ) from None


def find_interpreter(environ: Mapping[str, str], python: str | None = None) -> str:
    """The Python that runs a script: the one given, else the active environment's, else our own.

    Raises:
        InputError: the one given can't be executed.
    """
    if python is not None:
        try:
            return find_executable(python, environ)
        except CannotExecuteError as error:
            raise InputError(f"--python: {error}") from None
    for variable in _PYTHON_ENVIRONMENTS:
        candidate = os.path.join(environ.get(variable) or "", "bin", "python")
        if environ.get(variable) and os.access(candidate, os.X_OK):
            return candidate
    return sys.executable


def _foreign_kind(path: str) -> str | None:
    """What a file is if Python can't run it; None if it may."""
    if os.path.isdir(path):
        return None if os.path.exists(os.path.join(path, "__main__.py")) else "a directory without __main__.py"
    if not os.path.isfile(path):
        return None  # a pipe gives what it has once, and to Python
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise InputError(f"can't read {path}: permission denied") from None
        raise InputError(f"can't read {path}: {error.strerror}") from None
    if start.startswith(b"\x7fELF"):
        return "a compiled program"
    first_line = start.partition(b"\n")[0]
    if first_line.startswith(b"#!") and b"py" not in first_line and b"uv" not in first_line:
        return f"a script for {first_line[2:].decode(errors='replace').strip()}"
    if b"\0" in start and not path.endswith((".pyc", ".pyz", ".zip")) and b"PK\x03\x04" not in start:
        return "binary data"
    return None


def _as_command(path: str) -> str:
    return path if "/" in path else f"./{path}"


def _stem(path: str) -> str:
    """The name under which results of this path are filed."""
    if path == "-":
        return "stdin"
    name = os.path.basename(os.path.abspath(path))
    return file_name(name[:-3] if name.endswith(".py") else name)


def name_of_function(function: Callable[..., Any]) -> str:
    """What a function is called, within its module."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).replace("<locals>.", "")


def place_of_function(function: Callable[..., Any]) -> str | None:
    """Where a function stands: ``train.py:12 train``; None if that isn't known."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno} {name_of_function(function)}"


def file_name(name: str) -> str:
    """A name that can be a directory's, whatever it was made from."""
    kept = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in name).strip().lstrip(".")
    return kept.encode(errors="replace")[:100].decode(errors="ignore") or "program"
