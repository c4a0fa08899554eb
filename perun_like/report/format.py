"""Quantities for people: a fitting unit, and no more digits than the bounds justify.

Printed bounds are rounded outwards: the printed interval contains the computed one, so that what is certain of the
figures is certain of the text. A value and its bounds are in one unit, to be compared at a glance. Two digits of the
uncertainty are kept, two to four of the value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from perun_like.model.node import Metric, Provenance
from perun_like.report.rounding import Rounded, Unit, exponent, fitted, fixed, rounded, unit_of
from perun_like.units import J_PER_KWH

_EXACT_DIGITS = 4
_USUAL_DIGITS = 3  # of what has no bounds
_SMALL = 0.05  # bounds nearer than this part of the value are ± even where they are not symmetric
_ROUNDING = 1e-9  # of a figure: what differs by less differs by how doubles are added
_READABLE = (1e-3, 1e4)  # bounds beyond these, in the unit of their value, have a unit of their own


class Shown(NamedTuple):
    """A figure as text: the value, and its bounds (``± 8.2 J``, ``12 to 160 J`` or nothing)."""

    value: str
    bounds: str


def show(metric: Metric) -> Shown:
    """A metric as text. Missing: ``not available: reason``; a sum that lacks parts: ``at least``."""
    value, lower, upper = metric.value, metric.lower, metric.upper
    if value is None or not math.isfinite(value):
        return Shown(f"not available: {metric.reason or 'unknown why'}", "")
    if metric.missing or (upper is None and lower == value):
        least = value if lower is None else lower
        return Shown(f"at least {fitted(least, metric.unit, _USUAL_DIGITS, math.floor)}", "")
    if metric.unit == "s":
        return Shown(duration(float(value)), "")
    if lower is None or upper is None or lower == upper:
        return Shown(_alone(metric, float(value)), "")
    text = _symmetric if _is_symmetric(float(value), lower, upper, metric.unit) else _from_to
    return text(float(value), lower, upper, metric.unit)


def difference(amount: float, metric: Metric) -> str:
    """By how much a metric differs from another, in the unit in which it is itself shown: ``0.12 kJ``."""
    if not math.isfinite(amount):
        return "unknown"
    unit = unit_of(show(metric).value, metric.unit)
    if amount <= _ROUNDING * abs(metric.value or 0) and unit is not None:
        return f"0 {unit[1]}"
    if unit is None or not _READABLE[0] <= amount / unit[0] < _READABLE[1]:
        return str(fitted(amount, metric.unit, 2, math.ceil))
    return str(rounded(amount, unit, 2, math.ceil))


def number(value: float, unit: str, significant: int = _USUAL_DIGITS) -> str:
    """A value with so many significant digits and a fitting prefix: ``1.23 kJ``, ``512 MiB``, ``54 mg``."""
    return str(fitted(value, unit, significant)) if math.isfinite(value) else "unknown"


def _alone(metric: Metric, value: float) -> str:
    """A value that is exact, or whose bounds aren't known."""
    if metric.unit == "%":
        return percent(value)
    if metric.lower is not None and metric.lower == metric.upper:
        return number(value, metric.unit, _EXACT_DIGITS)
    return number(value, metric.unit, 2 if metric.provenance is Provenance.ESTIMATED else _USUAL_DIGITS)


def _digits(figure: float, uncertainty: float) -> int:
    """How many digits of a figure its uncertainty justifies: to the second one of that, two to four in all."""
    return min(max(exponent(figure) - exponent(uncertainty) + 2, 2), _EXACT_DIGITS)


def _is_symmetric(value: float, lower: float, upper: float, unit: str) -> bool:
    """Whether ± suits: bounds that are small or much the same, and nothing impossible: not 16 J ± 17 J."""
    nearer, farther = sorted((value - lower, upper - value))
    impossible = (lower >= 0 and farther > 0.95 * value) or (unit == "%" and upper <= 100 < value + farther)
    return value > lower and farther <= max(_SMALL * value, nearer / 0.75) and not impossible


def _symmetric(value: float, lower: float, upper: float, unit: str, digits: int = _EXACT_DIGITS) -> Shown:
    """``412.3 J ± 8.2 J``: around what is printed, and not finer."""
    digits = min(digits, _digits(value, max(value - lower, upper - value)))
    figure = fitted(value, unit, digits, keep_place=digits < _EXACT_DIGITS)
    top = fitted(upper, unit, digits, math.ceil)
    if top.scale > figure.scale:  # 0.93 W ± 0.85 W
        figure = rounded(value, (top.scale, top.symbol), digits, keep_place=digits < _EXACT_DIGITS)
    half = max(figure.value - lower, upper - figure.value) / figure.scale
    place = exponent(half) - 1
    if place > figure.place and digits > 2:  # rounding has made the uncertainty longer: 51.62 ± 1.1
        return _symmetric(value, lower, upper, unit, digits - 1)
    place = max(place, figure.place)
    uncertainty = fixed(math.ceil(half / 10.0**place - 1e-6) * 10.0**place, place)
    return Shown(str(figure), f"± {uncertainty} {figure.symbol}".rstrip())


def _from_to(value: float, lower: float, upper: float, unit: str) -> Shown:
    """``45 J, 12 to 160 J``, or ``0 J, up to 3.2 J`` where the value is its own lower bound."""
    width = upper - lower
    rounding = math.floor if lower == value else round
    figure = fitted(value, unit, _digits(value, width), rounding)
    top = fitted(upper, unit, _digits(upper, width), math.ceil)
    if value == 0 or (top.scale > figure.scale and value >= 0.1 * top.scale):
        figure = rounded(value, (top.scale, top.symbol), _digits(value, width), rounding)  # 0.66 J, 0.05 to 2.1 J
    common = (figure.scale, figure.symbol)
    if upper / figure.scale < _READABLE[1]:
        top = rounded(upper, common, _digits(upper, width), math.ceil)
    if lower == value:
        return Shown(str(figure), f"up to {top}")
    return Shown(str(figure), f"{_low(lower, width, unit, common, top)} to {top}")


def _low(lower: float, width: float, unit: str, common: Unit, top: Rounded) -> str:
    """The lower end, with its unit where that isn't the upper one's; ``6`` rather than ``6.0`` before ``to 160``."""
    readable = lower == 0 or lower / common[0] >= _READABLE[0]
    digits = _digits(lower, width)
    low = rounded(lower, common, digits, math.floor) if readable else fitted(lower, unit, digits, math.floor)
    text = low.text
    if "." in text and low.place < exponent(width / low.scale) - 1:
        text = text.rstrip("0").rstrip(".")
    return text if low.symbol == top.symbol or not lower else f"{text} {low.symbol}"


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
    return number(fraction_of_100, "%", 3 if abs(fraction_of_100) >= 9.995 else 2)


def watt_hours(energy_j: float, significant: int = _USUAL_DIGITS) -> str:
    """Energy in watt-hours, the unit of bills; nothing below 1 Wh."""
    return number(energy_j / J_PER_KWH * 1000, "Wh", significant) if energy_j >= J_PER_KWH / 1000 else ""
