"""The configuration file: which one counts, and what is in it. The rules are in :mod:`perun_like.config`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from perun_like.errors import ConfigError

# The TOML parser takes 24 ms to import: it is, only for files that may concern us.
_CONCERNS_US = re.compile(rb"perun[-_]like[\"']?\s*[].=]")


class ConfigFile(NamedTuple):
    """A file that was read.

    Attributes:
        path: Relative to the current directory.
        directory: What relative paths in it are relative to; empty for the current directory.
        values: Its keys and values, as TOML gives them.
    """

    path: str
    directory: str
    values: dict[str, Any]


def read(cwd: str, home: str) -> ConfigFile | None:
    """The file that counts for a current directory; None if there is none.

    Raises:
        ConfigError: it can't be read or isn't TOML.
    """
    for directory in _directories(os.path.abspath(cwd), home):
        for name in ("perun.toml", "pyproject.toml"):
            values = _values(os.path.join(directory, name))
            if values is not None:
                relative = os.path.relpath(directory, cwd)
                here = relative == os.curdir
                shown = name if here else f"{relative}/{name}"
                return ConfigFile(shown, "" if here else directory, values)
    return None


def located(path: str, directory: str, home: str, *, command: bool = False) -> str:
    """A path written in a file, as seen from the current directory.

    Args:
        path: As written; ``~/x`` is in the home directory.
        directory: What it is relative to; empty for the current directory.
        home: The home directory.
        command: Whether a bare name, such as ``python3``, is a command to be looked up.
    """
    if command and os.sep not in path:
        return path
    return os.path.join(directory, home + path[1:] if path.startswith("~/") and home else path)


def _directories(cwd: str, home: str) -> Iterator[str]:
    """The current directory; then its parents up to a repository's root or home, if there is one above."""
    parents = [cwd]
    while not os.path.exists(os.path.join(parents[-1], ".git")) and parents[-1] != home:
        parent = os.path.dirname(parents[-1])
        if parent == parents[-1] or _anyone_may_write(parent):
            return iter([cwd])
        parents.append(parent)
    return iter(parents)


def _anyone_may_write(directory: str) -> bool:
    """Whether a stranger could have put a file there, as in /tmp: its ``python`` key would run it."""
    try:
        return bool(os.stat(directory).st_mode & stat.S_IWOTH)
    except OSError:
        return True


def _values(path: str) -> dict[str, Any] | None:
    if os.path.exists(path) and not os.path.isfile(path):
        return None  # a directory, or a pipe that nobody writes to
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    if path.endswith("pyproject.toml"):
        return _table(path, content) if _CONCERNS_US.search(content) else None
    return _toml(path, content)


def _table(path: str, content: bytes) -> dict[str, Any] | None:
    """Our table of a ``pyproject.toml``; None if it has none."""
    tools = _toml(path, content).get("tool")
    if not isinstance(tools, dict):
        return None
    if "perun_like" in tools:
        raise ConfigError(f"{path}: unknown table [tool.perun_like]: did you mean [tool.perun-like]?")
    table = tools.get("perun-like")
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.perun-like must be a table, [tool.perun-like]")
    return table


def _toml(path: str, content: bytes) -> dict[str, Any]:
    import importlib
    import sys

    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        values: dict[str, Any] = toml.loads(content.decode())
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return values
