"""Figures with so many digits, in a fitting unit, rounded to the nearest, up or down."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Rounding = Callable[[float], int]
Unit = tuple[float, str]  # its size in the SI unit, and its symbol

_SI = ((1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))
_UNITS: dict[str, tuple[Unit, ...]] = {
    "J": tuple((scale, f"{prefix}J") for scale, prefix in _SI),
    "W": tuple((scale, f"{prefix}W") for scale, prefix in _SI),
    "Wh": tuple((scale, f"{prefix}Wh") for scale, prefix in _SI),
    "s": tuple((scale, f"{prefix}s") for scale, prefix in _SI[:4]),
    "B": tuple((1024.0**power, unit) for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))),
    "kg": ((1e-9, "µg"), (1e-6, "mg"), (1e-3, "g"), (1.0, "kg"), (1e3, "t")),
    "1": ((1.0, ""),),
}


class Rounded(NamedTuple):
    """A rounded figure: its digits, the unit's symbol and size, and the power of ten of its last digit."""

    text: str
    symbol: str
    scale: float
    place: int

    def __str__(self) -> str:
        return f"{self.text} {self.symbol}".rstrip()

    @property
    def value(self) -> float:
        """What the text says, in the SI unit."""
        return float(self.text) * self.scale


def unit_of(text: str, unit: str) -> Unit | None:
    """The unit in which a figure was written, as mJ in ``12.3 mJ`` for the SI unit J; None if it was in none."""
    symbol = text.rpartition(" ")[2]
    return next(((scale, known) for scale, known in _UNITS.get(unit, ((1.0, unit),)) if known == symbol), None)


def fitted(
    value: float, unit: str, significant: int, rounding: Rounding = round, *, keep_place: bool = False
) -> Rounded:
    """The value in the first unit whose rounded figure is below the next unit: 1.000 J, never 1000 mJ.

    ``keep_place``: 9.97 with two digits is 10.0, where its uncertainty begins, and not 10.
    """
    units = _UNITS.get(unit, ((1.0, unit),))
    if value == 0:
        return Rounded("0", unit if unit != "1" else "", 1.0, 0)
    chosen = rounded(value, units[0], significant, rounding, keep_place=keep_place)
    for candidate in units[1:]:
        if abs(chosen.value) < candidate[0] * (1 - 1e-12):
            break
        chosen = rounded(value, candidate, significant, rounding, keep_place=keep_place)
    return chosen


def rounded(
    value: float, unit: Unit, significant: int, rounding: Rounding = round, *, keep_place: bool = False
) -> Rounded:
    """The value in the given unit."""
    scale, symbol = unit
    if value == 0:
        return Rounded("0", symbol, scale, 0)
    scaled = value / scale
    if symbol.endswith("B"):
        significant = max(significant, exponent(scaled) + 1)  # 1023 KiB is below 1 MiB: not 1020 KiB
    if symbol == "B":
        significant = max(exponent(scaled) + 1, 1)  # bytes are whole
    place = exponent(scaled) - significant + 1
    quotient = scaled / 10.0**place
    whole = round(quotient)
    if abs(quotient - whole) > 1e-9 * abs(quotient):  # closer, it is that number in binary
        whole = rounding(quotient)
    figure = whole * 10.0**place
    if abs(whole) == 10**significant and not keep_place:
        place += 1  # 9.996 has become 10.00, which is 10.0
    return Rounded(fixed(figure, place), symbol, scale, place)


def exponent(value: float) -> int:
    """Power of ten of the first digit; 0 for 0."""
    return int(f"{abs(value):.12e}".partition("e")[2])


def fixed(value: float, place: int) -> str:
    """A rounded figure without an exponent, except where that would be a row of zeros."""
    if place < 10 and abs(value) >= 1e-7:
        return f"{value:.{max(0, -place)}f}"
    return f"{value:.{max(0, exponent(value) - place)}e}"
