"""CO2 equivalents and cost of an energy: energy x PUE x intensity of the electricity where it was used.

Without a place the world average stands in, which is said wherever the figure goes, with the range over countries
as bounds: no country is ever assumed. Intensities are averages of a year over a country (see the head of
``data/grid_intensity.csv``); what a site really draws from differs with the hour and the contract.

Light to import (no numpy), so that a wrong country is found out before the application starts.
"""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from perun_like.errors import InputError
from perun_like.model.node import Metric, Provenance
from perun_like.units import J_PER_KWH

_TABLE = os.path.join(os.path.dirname(__file__), "data", "grid_intensity.csv")
_WORLD = "WORLD"
_G_PER_KG = 1000.0
# Names people write for countries that the table calls otherwise.
_ALSO_CALLED = {
    "uk": "GB",
    "great britain": "GB",
    "united states of america": "US",
    "türkiye": "TR",
    "turkiye": "TR",
    "czech republic": "CZ",
    "ivory coast": "CI",
    "côte d'ivoire": "CI",
    "macau": "MO",
    "timor-leste": "TL",
    "réunion": "RE",
}


class Intensity(NamedTuple):
    """CO2 equivalents of a kilowatt-hour, in grams, and where the figure comes from."""

    lower: float
    value: float
    upper: float
    origin: str


class _Country(NamedTuple):
    iso2: str
    iso3: str
    name: str
    year: int
    g_per_kwh: float


@dataclass(frozen=True)
class Assumptions:
    """What can't be measured about the electricity. A wrong value raises InputError, saying what is allowed.

    Attributes:
        country: Where the machine stands: ISO 3166 code of two or three letters, or English name; None: unknown.
        intensity_g_per_kwh: CO2 equivalents of a kilowatt-hour; comes before the country's. 0 is a value.
        pue: Power usage effectiveness: energy of the whole site over energy of its computers, at least 1.
        price: Amount per kWh and currency; None: no cost is computed.
    """

    country: str | None = None
    intensity_g_per_kwh: float | None = None
    pue: float = 1.0
    price: tuple[float, str] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.pue) and self.pue >= 1):
            raise InputError(
                f"a PUE of {self.pue} is impossible: the site uses at least what its computers use; write 1 or more"
            )
        given = self.intensity_g_per_kwh
        if given is not None and not (math.isfinite(given) and given >= 0):
            raise InputError(f"an intensity of {given} g/kWh is impossible: write 0 or more")
        if self.price is not None and not (math.isfinite(self.price[0]) and self.price[0] >= 0):
            raise InputError(f"a price of {self.price[0]} per kWh is impossible: write 0 or more")
        if self.country is not None:
            _find(self.country)


def intensity(assumptions: Assumptions) -> Intensity:
    """The intensity to be used: the given one, else the country's, else the world's."""
    given = assumptions.intensity_g_per_kwh
    if given is not None:
        return Intensity(given, given, given, f"{given:g} g/kWh as given")
    if assumptions.country is not None:
        found = _find(assumptions.country)
        figure = found.g_per_kwh
        return Intensity(figure, figure, figure, f"{figure:.3g} g/kWh, {found.name} {found.year}")
    world = _countries()[_WORLD]
    figures = [country.g_per_kwh for country in _countries().values()]
    origin = f"world average {world.year}, {world.g_per_kwh:.3g} g/kWh; bounds span all countries: see --country"
    return Intensity(min(figures), world.g_per_kwh, max(figures), origin)


def co2e(energy: Metric, assumptions: Assumptions) -> Metric:
    """Emissions of an energy (in joules), in kilograms of CO2 equivalents."""
    if energy.value is None:
        return Metric.absent("kg", energy.reason or "the energy is missing", energy.scope)
    factors = intensity(assumptions)
    per_g = assumptions.pue / J_PER_KWH / _G_PER_KG
    return Metric(
        value=energy.value * factors.value * per_g,
        unit="kg",
        lower=None if energy.lower is None else energy.lower * factors.lower * per_g,
        upper=None if energy.upper is None else energy.upper * factors.upper * per_g,
        provenance=Provenance.ESTIMATED,
        scope=energy.scope,
        missing=energy.missing,
        reason=energy.reason,
        method=factors.origin + _with_pue(assumptions),
    )


def cost(energy: Metric, assumptions: Assumptions) -> Metric:
    """Price of an energy (in joules) with that of the site around it; missing without a price."""
    price = assumptions.price
    if energy.value is None:
        return Metric.absent(price[1] if price else "", energy.reason or "the energy is missing", energy.scope)
    if price is None:
        return Metric.absent("", "no price is known: give one, such as --price 0.30EUR", energy.scope)
    amount, currency = price
    per_j = amount * assumptions.pue / J_PER_KWH
    return Metric(
        value=energy.value * per_j,
        unit=currency,
        lower=None if energy.lower is None else energy.lower * per_j,
        upper=None if energy.upper is None else energy.upper * per_j,
        provenance=energy.provenance,
        scope=energy.scope,
        missing=energy.missing,
        reason=energy.reason,
        method=f"{amount:g} {currency}/kWh" + _with_pue(assumptions),
    )


def _with_pue(assumptions: Assumptions) -> str:
    return f", PUE {assumptions.pue:g}" if assumptions.pue != 1 else ""


def _find(country: str) -> _Country:
    """A country by code or name, whatever the case.

    Raises:
        InputError: there is none of that name; the message names similar ones and what is allowed.
    """
    key = country.strip().casefold()
    for entry in _countries().values():
        if entry.iso3 != _WORLD and key in (entry.iso2.casefold(), entry.iso3.casefold(), entry.name.casefold()):
            return entry
    if key in _ALSO_CALLED:
        return _find(_ALSO_CALLED[key])
    raise InputError(
        f"unknown country {country!r}{_suggestion(key)}: write an ISO 3166 code of two or three letters (DE, DEU) "
        "or the English name; or give --intensity"
    )


def _suggestion(key: str) -> str:
    from difflib import get_close_matches  # imported only on the way to an error

    names = {entry.name.casefold(): entry for entry in _countries().values() if entry.iso3 != _WORLD}
    close = [names[name] for name in get_close_matches(key, names, n=3)]
    listed = " or ".join(f"{entry.name} ({entry.iso2})" for entry in close)
    return f", did you mean {listed}?" if listed else ""


@lru_cache(maxsize=1)
def _countries() -> dict[str, _Country]:
    """The packaged table by three-letter code; the world's row is ``WORLD``."""
    with open(_TABLE, encoding="utf-8", newline="") as file:
        rows = csv.reader(line for line in file if not line.startswith("#"))
        next(rows)
        entries = [_Country(iso2, iso3, name, int(year), float(figure)) for iso2, iso3, name, year, figure in rows]
    return {entry.iso3: entry for entry in entries}
