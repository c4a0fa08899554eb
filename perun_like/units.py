"""Units and the parsing of quantities people write. SI inside; formatting is the report's business."""

from __future__ import annotations

import re

from perun_like.errors import InputError

NS_PER_S = 1_000_000_000
J_PER_KWH = 3_600_000.0

_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|min|h)\s*")
_DURATION_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_PRICE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]{3})\s*")


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of a written duration such as ``100ms`` or ``1.5 s``.

    Raises:
        InputError: the text isn't a number with one of the units ns, us, ms, s, min, h.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a duration: write a number and a unit, such as 100ms, 0.5s or 2min")
    return round(float(match[1]) * _DURATION_NS[match[2]])


def parse_price(text: str) -> tuple[float, str]:
    """Amount per kWh and currency code of a written price such as ``0.30EUR``.

    Raises:
        InputError: the text isn't a number followed by a three-letter currency code.
    """
    match = _PRICE.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a price: write the price of a kWh and its currency, such as 0.30EUR")
    return float(match[1]), match[2].upper()
