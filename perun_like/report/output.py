"""Where a report goes: standard output, or a file that is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Generator
from typing import BinaryIO

STANDARD_OUTPUT = "-"


@contextlib.contextmanager
def open_output(path: str) -> Generator[BinaryIO]:
    """A file to write bytes to. It takes the place of an existing one when the ``with`` statement ends well.

    Args:
        path: ``-`` is standard output. What is not an ordinary file (a pipe, ``/dev/stderr``) is written to directly.

    Raises:
        OSError: it can't be written; an existing file is as it was.
    """
    if path == STANDARD_OUTPUT:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif _is_special(path):
        with open(path, "wb") as file:
            yield file
    else:
        with _replacing(os.path.realpath(path)) as file:
            yield file


def _is_special(path: str) -> bool:
    in_devices = os.path.abspath(path).startswith(("/dev/", "/proc/"))  # /dev/stdout may be an ordinary file
    return in_devices or (os.path.exists(path) and not os.path.isfile(path))


@contextlib.contextmanager
def _replacing(path: str) -> Generator[BinaryIO]:
    temporary = os.path.join(os.path.dirname(path), f".perun-like-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
