"""Units and the parsing of quantities people write. SI inside; formatting is the report's business."""

from __future__ import annotations

import math
import re

from perun_like.errors import InputError

NS_PER_S = 1_000_000_000
J_PER_KWH = 3_600_000.0

_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|min|h)\s*")
_MINUTE_NS = 60 * NS_PER_S
_DURATION_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": NS_PER_S, "min": _MINUTE_NS, "h": 60 * _MINUTE_NS,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)\s*")
_SIZE_B = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_PRICE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]{3})\s*")


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of a written duration such as ``100ms`` or ``1.5 s``.

    Raises:
        InputError: the text isn't a number with one of the units ns, us, ms, s, min, h.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a duration: write number and unit, such as 100ms, 0.5s or 2min")
    duration_ns = float(match[1]) * _DURATION_NS[match[2]]
    if not math.isfinite(duration_ns):
        raise InputError(f"{text[:20]!r}… is longer than any duration")
    return round(duration_ns)


def parse_size_b(text: str) -> int:
    """Bytes of a written size such as ``500MB`` or ``1.5 GiB``.

    Raises:
        InputError: the text isn't a number with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a size: write number and unit, such as 500MB, 1GB or 1.5GiB")
    size_b = float(match[1]) * _SIZE_B[match[2]]
    if not math.isfinite(size_b):
        raise InputError(f"{text[:20]!r}… is larger than any disk")
    return round(size_b)


def parse_price(text: str) -> tuple[float, str]:
    """Amount per kWh and currency code of a written price such as ``0.30EUR``.

    Raises:
        InputError: the text isn't a number followed by a three-letter currency code.
    """
    match = _PRICE.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a price: write that of a kWh and its currency, such as 0.30EUR")
    amount = float(match[1])
    if not math.isfinite(amount):
        raise InputError(f"{text[:20]!r}… is more than any price")
    return amount, match[2].upper()


def parse_number(text: str, low: float, high: float, unit: str = "") -> float:
    """The number that a text says, if it lies between two others (which are allowed themselves).

    Raises:
        InputError: the text isn't a number, or the number is outside.
    """
    of_unit = f" {unit}" if unit else ""
    allowed = f"a number from {low:g} to {high:g}{of_unit} is allowed"
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{text!r} is not a number: {allowed}") from None
    if not low <= number <= high:  # also true for nan
        raise InputError(f"{text} is out of range: {allowed}")
    return number
