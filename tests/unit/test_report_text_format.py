"""Quantities as people read them. Truth: written by hand, and what the printed text says when it is read back."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perun_like.model.node import Metric, Provenance
from perun_like.report import format as form

PREFIXES = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
SCALES = {f"{prefix}J": scale for prefix, scale in PREFIXES.items()}
SIZES = {unit: 1024.0**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))}
positive = st.floats(1e-9, 9e14)


def read(text: str) -> tuple[float, float]:
    """Value in J or B of a printed quantity, and half a unit of its last digit."""
    figure, unit = text.split(" ")
    scale = SCALES.get(unit) or SIZES[unit]
    decimals = len(figure.partition(".")[2])
    return float(figure) * scale, 0.5 * 10.0**-decimals * scale


def interval(shown: form.Shown) -> tuple[float, float]:
    """Ends in J of what is printed as bounds."""
    if shown.bounds.startswith("± "):
        value, half = read(shown.value)[0], read(shown.bounds[2:])[0]
        return value - half, value + half
    if shown.bounds.startswith("up to "):
        return read(shown.value)[0], read(shown.bounds[6:])[0]
    low, high = shown.bounds.split(" to ")
    unit = high.split(" ")[1]
    return read(low if " " in low else f"{low} {unit}")[0], read(high)[0]


NUMBERS = [
    (412.34, "J", 3, "412 J"),
    (0.9996, "J", 4, "999.6 mJ"),
    (0.99996, "J", 4, "1.000 J"),
    (999.6, "J", 3, "1.00 kJ"),
    (999_999.0, "J", 4, "1.000 MJ"),
    (0, "J", 3, "0 J"),
    (-0.0, "W", 3, "0 W"),
    (-1234.5, "W", 3, "-1.23 kW"),
    (1e-14, "J", 3, "0.0000100 nJ"),
    (1e30, "J", 3, "1.00e+18 TJ"),
    (5.4e-5, "kg", 2, "54 mg"),
    (3.2e-10, "kg", 2, "0.32 µg"),
    (12.0, "kg", 3, "12.0 kg"),
    (12_345, "kg", 3, "12.3 t"),
    (851_443_712, "B", 3, "812 MiB"),
    (1_290_000_000, "B", 3, "1.20 GiB"),
    (1023, "B", 4, "1023 B"),
    (42, "B", 3, "42 B"),
    (1_048_576 - 1, "B", 3, "1.00 MiB"),
    (math.nan, "J", 3, "unknown"),
    (math.inf, "J", 3, "unknown"),
]


@pytest.mark.parametrize(("value", "unit", "digits", "expected"), NUMBERS)
def test_numbers(value: float, unit: str, digits: int, expected: str) -> None:
    assert form.number(value, unit, digits) == expected


@given(positive, st.integers(2, 4))
def test_a_printed_number_is_as_exact_as_it_looks(value: float, digits: int) -> None:
    text = form.number(value, "J", digits)
    read_back, half = read(text)
    significant = re.sub(r"^0\.0*|\.", "", text.split(" ")[0])
    error = max(half, 0.5 * 10.0 ** (math.floor(math.log10(value) + 1e-12) - digits + 1))
    assert abs(read_back - value) <= error * (1 + 1e-9)
    assert len(significant) <= max(digits, 3)


@given(st.floats(1e-9, 999e12))
def test_no_figure_has_four_digits_before_the_point(value: float) -> None:
    assert 0.9999 <= float(form.number(value, "J", 4).split(" ")[0]) < 1000


@given(st.integers(1, 2**55))
def test_sizes_are_as_exact_as_they_look(size: int) -> None:
    read_back, _ = read(form.number(size, "B"))
    assert abs(read_back - size) <= 0.005 * size


SHOWN = [
    ((412.34, "J", 404.2, 420.4), "412.3 J", "± 8.1 J"),
    ((382.1, "J", 375.0, 389.2), "382.1 J", "± 7.1 J"),
    ((1234.5, "J", 1233.7, 1235.3), "1.234 kJ", "± 0.002 kJ"),  # the rounding to 1.234 counts
    ((45.2, "J", 12.1, 158.0), "45 J", "12 to 160 J"),
    ((55.0, "J", 6.0, 154.0), "55 J", "6 to 160 J"),  # not 6.0
    ((381.2, "J", 301.4, 402.9), "380 J", "300 to 410 J"),
    ((35_940.0, "J", 35_890.0, 35_950.0), "35.94 kJ", "± 0.05 kJ"),  # small, so not 35.89 to 35.95 kJ
    ((792.0, "J", 765.0, 794.0), "792 J", "± 27 J"),
    ((7.1, "J", 0.86, 22.0), "7.1 J", "0.86 to 22 J"),
    ((0.66, "J", 0.051, 2.04), "0.66 J", "0.051 to 2.1 J"),  # not 660 mJ, 51 mJ to 2.04 J
    ((0.021, "J", 0.001, 0.66), "21 mJ", "1 to 660 mJ"),
    ((0.036, "J", 0.005, 1.2), "36 mJ", "5 to 1200 mJ"),
    ((3e-3, "J", 1e-3, 100.0), "3.0 mJ", "1 mJ to 100 J"),  # not 100000 mJ
    ((5.1e-6, "kg", 5.6e-7, 1.44e-5), "5.1 mg", "0.56 to 15 mg"),
    ((0.931, "W", 0.244, 1.77), "0.93 W", "± 0.84 W"),
    ((51.62, "%", 50.7, 52.65), "51.6 %", "± 1.1 %"),
    ((99.81, "%", 99.22, 100.0), "99.81 %", "99.22 to 100.0 %"),  # not ± 0.59 %
    ((16.0, "J", 1.2, 32.3), "16 J", "1.2 to 33 J"),  # not ± 17 J
    ((0.9996, "J", 0.99955, 0.99964), "999.6 mJ", "± 0.1 mJ"),
    ((1.12, "J", 0.0, 19.0), "1.1 J", "0 to 19 J"),
    ((3.3, "J", 0.5, 3300.0), "3.3 J", "0.5 to 3300 J"),
    ((5.42e-5, "kg", 2.1e-5, 9.1e-5), "54 mg", "± 37 mg"),
    ((0.0, "J", 0.0, 3.2), "0 J", "up to 3.2 J"),
    ((5.0, "J", 5.0, 5.0), "5.000 J", ""),
    ((5.0, "J"), "5.00 J", ""),
    ((4.5123, "s"), "4.512 s", ""),
    ((93.42, "%"), "93.4 %", ""),
    ((340_000, "1"), "340000", ""),
    ((100.0, "J", 50.0, None), "100 J", ""),
    ((851_443_712, "B", 851_443_712, 943_718_400), "812 MiB", "up to 900 MiB"),
    ((851_443_711, "B", 851_443_711, None), "at least 811 MiB", ""),  # one byte less than 812 MiB
    ((93.42, "%", 93.1, 93.8), "93.42 %", "± 0.38 %"),
]


@pytest.mark.parametrize(("arguments", "value", "bounds"), SHOWN)
def test_metrics(arguments: tuple[float, str, float, float], value: str, bounds: str) -> None:
    assert form.show(Metric(*arguments)) == (value, bounds)


def test_an_estimate_without_bounds_has_two_digits() -> None:
    assert form.show(Metric(45.678, "J", provenance=Provenance.ESTIMATED)).value == "46 J"


def test_what_is_missing_says_why() -> None:
    assert form.show(Metric.absent("J", "permission denied")).value == "not available: permission denied"
    assert form.show(Metric(None, "J")).value.startswith("not available: ")
    assert form.show(Metric(math.nan, "J", reason="broken")).value == "not available: broken"


def test_a_sum_that_lacks_a_part_is_at_least_its_lower_bound() -> None:
    partial = Metric(382.1, "J", 375.96, 389.2, missing=("dram",))
    assert form.show(partial) == ("at least 375 J", "")  # not 376: that is not certain
    assert form.show(Metric(382.1, "J", missing=("dram",))).value == "at least 382 J"


@given(positive, st.floats(0, 1), st.floats(0, 3))
def test_the_printed_interval_contains_the_computed_one(value: float, below: float, above: float) -> None:
    lower, upper = value * (1 - below), value * (1 + above)
    assume(lower < upper)
    assume(lower == 0 or lower > 1e-12)
    low, high = interval(form.show(Metric(value, "J", lower, upper)))
    slack = 1e-5 * (upper - lower) + 1e-9 * upper
    assert low <= lower + slack
    assert high >= upper - slack


@given(positive, st.floats(0.001, 0.9))
def test_a_printed_uncertainty_is_not_blown_up(value: float, share: float) -> None:
    half = value * share
    low, high = interval(form.show(Metric(value, "J", value - half, value + half)))
    assert high - low <= 2 * half * 1.35 + 0.002 * value


@given(positive, st.floats(1e-6, 0.9))
def test_no_more_digits_than_the_bounds_justify(value: float, share: float) -> None:
    shown = form.show(Metric(value, "J", value * (1 - share), value * (1 + share)))
    figure = shown.value.split(" ")[0]
    assert len(figure.replace(".", "").lstrip("0")) <= (4 if share < 0.1 else 3)
    if "." in figure:  # the last digit is a hundredth of the bounds or more
        assert read(shown.value)[1] * 2 >= value * share / 101


DURATIONS = [
    (0, "0 s"),
    (1e-7, "100.0 ns"),
    (0.8124, "812.4 ms"),
    (4.5123, "4.512 s"),
    (59.99, "59.99 s"),
    (59.996, "1 min 0.0 s"),
    (125.34, "2 min 5.3 s"),
    (3599.94, "59 min 59.9 s"),
    (3599.96, "1 h 0 min 0 s"),
    (11_527, "3 h 12 min 7 s"),
    (86_399.6, "1 d 0 h 0 min"),
    (1e6, "11 d 13 h 47 min"),
    (-125.34, "-2 min 5.3 s"),
    (math.nan, "unknown"),
]


@pytest.mark.parametrize(("seconds", "expected"), DURATIONS)
def test_durations(seconds: float, expected: str) -> None:
    assert form.duration(seconds) == expected


@given(st.floats(1e-9, 1e8))
def test_a_printed_duration_is_as_exact_as_it_looks(seconds: float) -> None:
    lengths = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
    words = form.duration(seconds).split(" ")
    read_back = sum(float(n) * lengths[unit] for n, unit in zip(words[::2], words[1::2], strict=True))
    last = words[-1]
    half = 0.0005 * seconds if len(words) == 2 else {"s": 0.5 if "h" in words else 0.05, "min": 30.0}[last]
    assert abs(read_back - seconds) <= half * (1 + 1e-9)
    assert all(float(n) < limit for n, unit in zip(words[::2], words[1::2], strict=True) if (limit := _limit(unit)))


def _limit(unit: str) -> float:
    return {"s": 60, "min": 60, "h": 24}.get(unit, 1e9)


def test_periods_as_they_were_asked_for() -> None:
    assert [form.period(ns) for ns in (10**6, 10**7, 1_500_000_000)] == ["1 ms", "10 ms", "1.5 s"]


PERCENTAGES = [
    (0, "0 %"),
    (0.004, "under 0.01 %"),
    (-0.004, "about 0 %"),
    (0.123, "0.12 %"),
    (0.9999, "1.0 %"),
    (9.97, "10 %"),
    (93.44, "93.4 %"),
    (99.96, "100 %"),
    (187.2, "187 %"),
    (math.nan, "unknown"),
]


@pytest.mark.parametrize(("value", "expected"), PERCENTAGES)
def test_percentages(value: float, expected: str) -> None:
    assert form.percent(value) == expected


def test_watt_hours_from_one_on() -> None:
    assert form.watt_hours(3_599) == ""
    assert form.watt_hours(3_600) == "1.00 Wh"
    assert form.watt_hours(5.43e6) == "1.51 kWh"


DIFFERENCES = [
    (0.0995, Metric(12.31, "J", 12.09, 12.53), "0.10 J"),
    (0.0995, Metric(1_231.0, "J", 1_209.0, 1_253.0), "100 mJ"),  # 0.0001 kJ would be hard to read
    (4.0, Metric(1_231.0, "J", 1_209.0, 1_253.0), "0.0040 kJ"),
    (0.0004, Metric(1.212, "s", 1.212, 1.212), "400 µs"),
    (0.012, Metric(1.212, "s", 1.212, 1.212), "0.012 s"),
    (0.7, Metric(75.0, "s", 75.0, 75.0), "0.70 s"),
    (0.0, Metric(0.0021, "s", 0.0021, 0.0021), "0 ms"),
    (3.2, Metric(93.4, "%", 93.0, 94.0), "3.2 %"),
    (2048.0, Metric(10.0 * 2**20, "B"), "0.0020 MiB"),
    (0.5, Metric(3.4, "EUR", 3.3, 3.5), "0.50 EUR"),
    (1.8e-15, Metric(12.0, "W", 11.0, 13.0), "0 W"),  # doubles added in another order
    (math.inf, Metric(1.0, "J"), "unknown"),
]


@pytest.mark.parametrize(("amount", "metric", "expected"), DIFFERENCES)
def test_differences_are_in_the_unit_of_their_figure(amount: float, metric: Metric, expected: str) -> None:
    assert form.difference(amount, metric) == expected


@given(st.floats(1e-9, 1e9), st.floats(1e-6, 10))
def test_a_difference_is_never_printed_smaller_than_it_is(value: float, share: float) -> None:
    text = form.difference(value * share, Metric(value, "J", value * 0.9, value * 1.1))
    number, symbol = text.split()
    scale = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[symbol[:-1]]
    assert value * share <= float(number) * scale * (1 + 1e-9)
    assert float(number) * scale <= value * share * 1.11
