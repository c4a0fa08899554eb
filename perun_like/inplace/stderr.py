"""What the program's standard error is told about what is measured in place."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from perun_like.errors import PerunError


def complain(problem: str) -> None:
    """Say what is wrong to whoever reads the program's standard error."""
    write_error(f"perun-like: {problem}\n")


def write_error(text: str) -> None:
    """Write to the program's standard error, as far as it has one."""
    with suppress(Exception):  # closed, full, or replaced by an object of the program's own
        sys.stderr.write(text)
        sys.stderr.flush()


def reason_of(error: BaseException) -> str:
    """Why something failed: what people can mend in a line, a fault of ours with all that helps to find it."""
    if isinstance(error, (PerunError, OSError)):
        return str(error)
    hidden = hidden_module()
    if hidden is not None:
        name, path = hidden
        return f"{path} hides Python's own module {name}: rename it, or move it away from the program"
    with suppress(ImportError):  # Python is shutting down
        from traceback import format_exception

        return "".join(format_exception(type(error), error, error.__traceback__)).rstrip()
    return f"{type(error).__name__}: {error}"


def hidden_module() -> tuple[str, str] | None:
    """A module of Python's own whose place another file has taken, and that file; None if there is none."""
    own = tuple({os.path.dirname(os.path.realpath(os.__file__)), os.path.dirname(os.__file__)})
    for name in sorted(sys.stdlib_module_names.intersection(sys.modules)):
        path = getattr(sys.modules[name], "__file__", None)
        if isinstance(path, str) and not path.startswith(own) and not path.endswith((".so", ".pyd")):
            return name, path
    return None
