"""Many integers as decimal text at once: characters in a matrix, and which of them are kept.

Four digits at a time are looked up in a table. Formatting as many with ``%`` takes three times as long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.model.recording import Bools, Int64s

Characters = NDArray[np.uint8]
_GROUP = 4  # digits that are looked up together
_ZERO, _POINT, _MINUS = map(ord, "0.-")


class Cells(NamedTuple):
    """The cells of a column: a text in each row, which are the characters that are kept.

    Attributes:
        characters: uint8, shape (rows, width).
        kept: bool, the same shape.
    """

    characters: Characters
    kept: Bools


def decimals(values: Int64s, digits: int) -> Cells:
    """``values / 10**digits``, exactly: ``-0.000012`` for -12 and 6 digits, ``-12`` for none.

    Args:
        values: int64, shape (rows,).
        digits: How many follow the decimal point.
    """
    sizes = np.abs(values).astype(np.uint64)  # the most negative one's size is no int64
    unit = np.uint64(10**digits)
    whole = sizes // unit
    width = len(str(whole.max(initial=0)))
    characters = np.empty((len(values), 1 + width + bool(digits) + digits), np.uint8)
    kept = np.ones(characters.shape, np.bool_)
    characters[:, 0], kept[:, 0] = _MINUS, values < 0
    characters[:, 1 : 1 + width] = _digits(whole, width)
    for place in range(width - 1):  # no zeros before the first digit
        kept[:, 1 + place] = whole >= np.uint64(10 ** (width - 1 - place))
    if digits:
        characters[:, 1 + width] = _POINT
        characters[:, 2 + width :] = _digits(sizes - whole * unit, digits)
    return Cells(characters, kept)


def texts(values: list[str]) -> Cells:
    """Texts of any length, of ASCII characters."""
    width = max(map(len, values), default=0)
    characters = np.array([text.encode("ascii") for text in values], f"S{max(width, 1)}")
    characters = characters.view(np.uint8).reshape(len(values), -1)
    return Cells(characters, characters != 0)


def _digits(values: NDArray[np.uint64], width: int) -> Characters:
    """The last so many digits of each value."""
    groups = -(-width // _GROUP)
    found = np.empty((len(values), groups), np.uint32)
    for group in range(groups - 1, -1, -1):
        rest = values // np.uint64(10**_GROUP)
        found[:, group] = _table()[values - rest * np.uint64(10**_GROUP)]
        values = rest
    return found.view(np.uint8)[:, groups * _GROUP - width :]


@lru_cache(maxsize=1)
def _table() -> NDArray[np.uint32]:
    """The four characters of each number below 10,000."""
    numbers = np.arange(10**_GROUP)
    digits = [numbers // 10**place % 10 + _ZERO for place in range(_GROUP - 1, -1, -1)]
    return np.stack(digits, axis=1).astype(np.uint8).view(np.uint32).ravel()
