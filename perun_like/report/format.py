"""Quantities for people: a fitting unit, and no more digits than the bounds justify.

Printed bounds are rounded outwards: the printed interval contains the computed one, so that what is certain
of the figures is certain of the text. Two digits of the uncertainty are kept, two to four of the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from perun_like.model.node import Metric, Provenance
from perun_like.units import J_PER_KWH

_Rounding = Callable[[float], int]
_Steps = tuple[tuple[float, str], ...]

_SI = ((1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))
_STEPS: dict[str, _Steps] = {
    "J": tuple((scale, f"{prefix}J") for scale, prefix in _SI),
    "W": tuple((scale, f"{prefix}W") for scale, prefix in _SI),
    "Wh": tuple((scale, f"{prefix}Wh") for scale, prefix in _SI),
    "s": tuple((scale, f"{prefix}s") for scale, prefix in _SI[:4]),
    "B": tuple((1024.0**power, unit) for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))),
    "kg": ((1e-9, "µg"), (1e-6, "mg"), (1e-3, "g"), (1.0, "kg"), (1e3, "t")),
    "1": ((1.0, ""),),
}
_EXACT_DIGITS = 4
_USUAL_DIGITS = 3  # of what has no bounds


class Shown(NamedTuple):
    """A figure as text: the value, and its bounds (``± 8.2 J``, ``12 to 160 J`` or nothing)."""

    value: str
    bounds: str


class _Step(NamedTuple):
    text: str  # the rounded figure
    symbol: str
    scale: float
    place: int  # power of ten of the last digit

    def __str__(self) -> str:
        return f"{self.text} {self.symbol}".rstrip()


def show(metric: Metric) -> Shown:
    """A metric as text. Missing: ``not available: reason``; a sum that lacks parts: ``at least``."""
    if metric.value is None or not math.isfinite(metric.value):
        return Shown(f"not available: {metric.reason or 'unknown why'}", "")
    lower, upper = metric.lower, metric.upper
    if metric.missing or (upper is None and lower == metric.value):
        least = metric.value if lower is None else lower
        return Shown(f"at least {_end(least, metric.unit, _USUAL_DIGITS, math.floor)}", "")
    if metric.unit == "s":
        return Shown(duration(float(metric.value)), "")
    if metric.unit == "%" and (lower is None or upper is None or lower == upper):
        return Shown(percent(float(metric.value)), "")
    known = digits(float(metric.value), lower, upper)
    if metric.provenance is Provenance.ESTIMATED and (lower is None or upper is None):
        known = 2
    rounding = math.floor if lower == metric.value else round
    value = _end(float(metric.value), metric.unit, known, rounding, keep_place=known < _EXACT_DIGITS)
    return Shown(str(value), _bounds(metric, value))


def number(value: float, unit: str, significant: int = _USUAL_DIGITS) -> str:
    """A value with so many significant digits and a fitting prefix: ``1.23 kJ``, ``512 MiB``, ``54 mg``."""
    return str(_nearest(value, unit, significant)) if math.isfinite(value) else "unknown"


def digits(value: float, lower: float | None, upper: float | None) -> int:
    """How many digits of a value its bounds justify: two digits of the uncertainty, two to four in all."""
    if lower is None or upper is None:
        return _USUAL_DIGITS
    half = (upper - lower) / 2
    if half <= 0 or value == 0 or not math.isfinite(half):
        return _EXACT_DIGITS if half <= 0 else 2
    return min(max(_exponent(value) - _exponent(half) + 2, 2), 4)


def _bounds(metric: Metric, value: _Step) -> str:
    """``± x`` around the printed value where bounds are nearly symmetric, else ``a to b``; exact: nothing."""
    exact, lower, upper = metric.value, metric.lower, metric.upper
    if exact is None or lower is None or upper is None or lower == upper:
        return ""
    below, above = exact - lower, upper - exact
    if not below:
        return f"up to {_end(upper, metric.unit, _digits_of_end(upper, upper - lower), math.ceil)}"
    printed = float(value.text) * value.scale
    beyond_zero = max(printed - lower, upper - printed) > 0.95 * exact and lower >= 0  # as in 16 J ± 17 J
    if beyond_zero or min(below, above) < 0.75 * max(below, above):
        return interval(lower, upper, metric.unit)
    return f"± {_uncertainty(max(printed - lower, upper - printed), value)}"


def interval(lower: float, upper: float, unit: str) -> str:
    """``12 to 160 J``, rounded outwards."""
    kept = [_digits_of_end(end, upper - lower) for end in (lower, upper)]
    low, high = _end(lower, unit, kept[0], math.floor), _end(upper, unit, kept[1], math.ceil)
    if lower == 0 or low.symbol == high.symbol:
        return f"{low.text} to {high}"
    return f"{low} to {high}"


def _digits_of_end(end: float, width: float) -> int:
    """How many digits of an interval's end its width justifies."""
    return min(max(_exponent(end) - _exponent(width / 2) + 2, 2), 4)


def _uncertainty(half: float, value: _Step) -> str:
    """An uncertainty in the unit of its value, rounded up, not finer than the value."""
    scaled = half / value.scale
    place = max(_exponent(scaled) - 1, value.place)
    text = _fixed(math.ceil(scaled / 10.0**place - 1e-6) * 10.0**place, place)
    return f"{text} {value.symbol}".rstrip()


def _nearest(value: float, unit: str, significant: int) -> _Step:
    return _end(value, unit, significant, round)


def _end(value: float, unit: str, significant: int, rounding: _Rounding, *, keep_place: bool = False) -> _Step:
    """The value in the first unit whose rounded figure is below the next unit: 1.000 J, never 1000 mJ.

    ``keep_place``: 9.97 with two digits is 10.0, where its uncertainty begins, and not 10.
    """
    steps = _STEPS.get(unit, ((1.0, unit),))
    if value == 0:
        return _Step("0", unit if unit != "1" else "", 1.0, 0)
    chosen = _step(value, steps[0], significant, rounding, keep_place=keep_place)
    for step in steps[1:]:
        if abs(float(chosen.text)) * chosen.scale < step[0] * (1 - 1e-12):
            break
        chosen = _step(value, step, significant, rounding, keep_place=keep_place)
    return chosen


def _step(value: float, step: tuple[float, str], significant: int, rounding: _Rounding, *, keep_place: bool) -> _Step:
    scale, symbol = step
    scaled = value / scale
    if symbol.endswith("B"):
        significant = max(significant, _exponent(scaled) + 1)  # 1023 KiB is below 1 MiB: not 1020 KiB
    place = _exponent(scaled) - significant + 1
    quotient = scaled / 10.0**place
    whole = round(quotient)
    if abs(quotient - whole) > 1e-9 * abs(quotient):  # closer, it is that number in binary
        whole = rounding(quotient)
    figure = whole * 10.0**place
    if abs(whole) == 10**significant and not keep_place:
        place += 1  # 9.996 has become 10.00, which is 10.0
    return _Step(_fixed(figure, place), symbol, scale, place)


def _exponent(value: float) -> int:
    """Power of ten of the first digit; 0 for 0."""
    return int(f"{abs(value):.12e}".partition("e")[2])


def _fixed(value: float, place: int) -> str:
    """A rounded figure without an exponent, except where that would be a row of zeros."""
    if place < 10 and abs(value) >= 1e-7:
        return f"{value:.{max(0, -place)}f}"
    return f"{value:.{max(0, _exponent(value) - place)}e}"


def duration(seconds: float) -> str:
    """``812.4 ms``, ``4.512 s``, ``2 min 5.3 s``, ``3 h 12 min 7 s`` or ``2 d 3 h 12 min``."""
    if not math.isfinite(seconds):
        return "unknown"
    if abs(seconds) < 59.995:
        return number(seconds, "s", _EXACT_DIGITS)
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    tenths = round(seconds * 10)
    if tenths < 36_000:
        return f"{sign}{tenths // 600} min {tenths % 600 / 10:.1f} s"
    whole = round(seconds)
    if whole < 86_400:
        return f"{sign}{whole // 3600} h {whole // 60 % 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{sign}{minutes // 1440} d {minutes // 60 % 24} h {minutes % 60} min"


def period(period_ns: int) -> str:
    """A period as it was asked for: ``100 ms``, ``1.5 s``."""
    return f"{period_ns / 1e6:g} ms" if period_ns < 10**9 else f"{period_ns / 1e9:g} s"


def percent(fraction_of_100: float) -> str:
    """``93.4 %``, ``0.12 %``, ``187 %``."""
    if not math.isfinite(fraction_of_100):
        return "unknown"
    if 0 < abs(fraction_of_100) < 0.01:
        return "under 0.01 %" if fraction_of_100 > 0 else "about 0 %"
    return str(_nearest(fraction_of_100, "%", 3 if abs(fraction_of_100) >= 9.995 else 2))


def watt_hours(energy_j: float, significant: int = _USUAL_DIGITS) -> str:
    """Energy in watt-hours, the unit of bills; nothing below 1 Wh."""
    return number(energy_j / J_PER_KWH * 1000, "Wh", significant) if energy_j >= J_PER_KWH / 1000 else ""


def money(amount: float, currency: str, significant: int = 2) -> str:
    """``12.35 EUR``, ``0.12 EUR``, ``0.000034 EUR``."""
    if not math.isfinite(amount):
        return "unknown"
    if amount == 0 or abs(amount) >= 1:
        return f"{amount + 0.0:.2f} {currency}"
    return str(_nearest(amount, currency, significant))


def per_million(amount: float, currency: str) -> str:
    """What a tiny sum is worth a million times: ``34.00 EUR per million runs``; nothing for others."""
    return f"{money(amount * 1e6, currency)} per million runs" if 0 < amount < 0.001 else ""
