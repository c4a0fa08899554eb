"""CO2e and cost against sums worked out by hand, and places that are wrong."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys

import pytest

import perun_like.analysis.emissions as module
from perun_like.analysis.emissions import Assumptions, co2e, cost, intensity
from perun_like.errors import InputError
from perun_like.model.node import Metric, Provenance

KWH = Metric(3.6e6, "J", 3.4e6, 3.9e6)


def test_one_kilowatt_hour_in_germany() -> None:
    found = co2e(KWH, Assumptions(country="DE"))
    # 1 kWh x 336.38 g/kWh; bounds are those of the energy: 3.4 and 3.9 MJ are 0.9444 and 1.0833 kWh.
    assert found.value == pytest.approx(0.33638)
    assert found.lower == pytest.approx(0.317692, abs=1e-6)
    assert found.upper == pytest.approx(0.364412, abs=1e-6)
    assert found.unit == "kg"
    assert found.provenance is Provenance.ESTIMATED
    assert found.method == "336 g/kWh, Germany 2024"


def test_pue_multiplies() -> None:
    found = co2e(KWH, Assumptions(intensity_g_per_kwh=100, pue=1.5))
    assert found.value == pytest.approx(0.15)
    assert "PUE 1.5" in str(found.method)


def test_given_intensity_comes_before_the_country_and_zero_is_a_value() -> None:
    """Defect 8: zeros were taken for 'unset'."""
    found = co2e(KWH, Assumptions(country="PL", intensity_g_per_kwh=0))
    assert (found.lower, found.value, found.upper) == (0, 0, 0)
    assert intensity(Assumptions(country="PL")).value == 608.18


def test_without_a_place_it_is_the_world_and_says_so_with_the_range() -> None:
    found = co2e(KWH, Assumptions())
    assert found.value == pytest.approx(0.47108)
    assert "world average" in str(found.method)
    assert "--country" in str(found.method)
    figures = [float(row["g_per_kwh"]) for row in table()]
    assert found.lower == pytest.approx(3.4 / 3.6 * min(figures) / 1000)
    assert found.upper == pytest.approx(3.9 / 3.6 * max(figures) / 1000)


@pytest.mark.parametrize("country", ["FR", "fr", "FRA", "france", " France "])
def test_a_country_has_many_names(country: str) -> None:
    assert intensity(Assumptions(country=country)).value == 40.48


@pytest.mark.parametrize(
    ("country", "hint"),
    [("Germny", "Germany (DE)"), ("Frankreich", "France (FR)"), ("XX", "ISO 3166"), ("world", "ISO 3166"), ("", "ISO")],
)
def test_unknown_country_names_what_is_allowed(country: str, hint: str) -> None:
    with pytest.raises(InputError, match=re.escape(hint)) as caught:
        Assumptions(country=country)
    assert "--intensity" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pue": 0.99},
        {"pue": float("nan")},
        {"intensity_g_per_kwh": -1},
        {"intensity_g_per_kwh": float("inf")},
        {"price": (-0.1, "EUR")},
    ],
)
def test_impossible_values(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="impossible"):
        Assumptions(**wrong)  # type: ignore[arg-type]


def test_cost_is_energy_times_price_with_that_of_the_site() -> None:
    found = cost(KWH, Assumptions(price=(0.30, "EUR"), pue=1.2))
    assert found.value == pytest.approx(0.36)
    assert (found.unit, found.provenance) == ("EUR", Provenance.MEASURED)
    assert cost(KWH, Assumptions(price=(0.0, "EUR"))).value == 0


def test_without_a_price_there_is_no_cost() -> None:
    found = cost(KWH, Assumptions())
    assert found.value is None
    assert "--price" in str(found.reason)


def test_missing_and_partial_energy_stay_so() -> None:
    absent = co2e(Metric.absent("J", "no counter"), Assumptions(country="DE"))
    assert (absent.value, absent.reason) == (None, "no counter")
    partial = Metric(3.6e6, "J", 3.4e6, None, missing=("rapl:dram",), reason="rapl:dram: masked")
    for found in (co2e(partial, Assumptions()), cost(partial, Assumptions(price=(1, "EUR")))):
        assert found.upper is None
        assert found.missing == ("rapl:dram",)


def table() -> list[dict[str, str]]:
    path = os.path.join(os.path.dirname(module.__file__), "data", "grid_intensity.csv")
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def test_the_table_is_sound() -> None:
    rows = table()
    assert len(rows) > 200
    for column in ("iso2", "iso3", "country"):
        assert len({row[column] for row in rows}) == len(rows)
    assert all(2020 <= int(row["year"]) <= 2024 for row in rows)
    assert all(15 < float(row["g_per_kwh"]) < 1400 for row in rows)  # hydropower to the worst of gas


def test_the_table_names_its_source_and_licence() -> None:
    path = os.path.join(os.path.dirname(module.__file__), "data", "grid_intensity.csv")
    with open(path, encoding="utf-8") as file:
        head = "".join(line for line in file if line.startswith("#"))
    for word in ("Ember", "Our World in Data", "CC BY 4.0", "https://"):
        assert word in head


def test_a_wrong_country_is_found_out_without_numpy() -> None:
    code = (
        "import sys; from perun_like.analysis.emissions import Assumptions; Assumptions('DE'); "
        "print('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
