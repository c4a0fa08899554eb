"""Files that anybody may have written or put there, opened and understood without waiting, following or believing."""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Any, BinaryIO, NoReturn

MOST_JSON_BYTES = 1 << 26
_BYTES_PER_OBJECT = 8  # lists and objects hold something: 3 bytes each, and they would need 25 times that in memory
_FEW_OBJECTS = 1 << 16
_MOST_DIGITS = 9


def open_plain(path: str) -> BinaryIO:
    """Open a file for reading: never a link, nor what could keep us waiting.

    Raises:
        OSError: it can't be opened, or is a link, a pipe, a directory or the like.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not an ordinary file", path)
    return open(fd, "rb")


def read_plain(path: str, most_b: int) -> bytes:
    """What is in such a file, or so much of its beginning.

    Raises:
        OSError: as for :func:`open_plain`.
    """
    with open_plain(path) as file:
        return file.read(min(most_b, os.fstat(file.fileno()).st_size))


def is_number(name: str) -> bool:
    """Whether a file's name is a rank or a pid: digits (of which Unicode has more than ``int`` takes), and few."""
    return name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS


def parse(text: bytes, most_b: int = MOST_JSON_BYTES) -> Any:
    """A JSON value, if it is neither too large nor says what isn't a number.

    Raises:
        ValueError: it isn't JSON, or none that we would have written.
    """
    objects = text.count(b"[") + text.count(b"{")
    if len(text) > most_b or objects > _FEW_OBJECTS + len(text) // _BYTES_PER_OBJECT:
        raise ValueError("it holds more than there can be")
    try:
        return json.loads(text, parse_constant=_not_a_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_object(text: bytes) -> dict[str, Any]:
    """The same of a JSON object.

    Raises:
        ValueError: it is something else, or nothing.
    """
    content = parse(text)
    if not isinstance(content, dict):
        raise ValueError(f"there is a {type(content).__name__} where facts should be")  # noqa: TRY004 - the file is wrong, not a caller
    return content


def _not_a_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
