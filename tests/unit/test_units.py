"""Quantities that people write. Truth: arithmetic by hand, and writing a number down and reading it back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perun_like.errors import InputError
from perun_like.units import parse_duration_ns, parse_number, parse_price

DURATIONS = [
    ("100ms", 100_000_000),
    ("1ms", 1_000_000),
    ("0.5s", 500_000_000),
    (".5 s", 500_000_000),
    ("  2 min ", 120_000_000_000),
    ("1h", 3_600_000_000_000),
    ("250us", 250_000),
    ("250µs", 250_000),
    ("7ns", 7),
    ("0s", 0),
]


@pytest.mark.parametrize(("text", "expected_ns"), DURATIONS)
def test_durations(text: str, expected_ns: int) -> None:
    assert parse_duration_ns(text) == expected_ns


@pytest.mark.parametrize("text", ["", "100", "ms", "-5ms", "1e3ms", "5 minutes", "5 ms x", "1,5s", "nan s"])
def test_what_is_no_duration_is_an_error_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"not a duration.*100ms"):
        parse_duration_ns(text)


def test_an_endless_duration_is_an_error_of_input() -> None:
    with pytest.raises(InputError, match="longer than any duration"):
        parse_duration_ns("9" * 400 + "h")


@given(st.integers(0, 10**15))
def test_a_duration_written_in_nanoseconds_is_read_exactly(duration_ns: int) -> None:
    assert parse_duration_ns(f"{duration_ns}ns") == duration_ns


@pytest.mark.parametrize(
    ("text", "expected"), [("0.30EUR", (0.3, "EUR")), ("12 usd", (12.0, "USD")), ("0CHF", (0.0, "CHF"))]
)
def test_prices(text: str, expected: tuple[float, str]) -> None:
    assert parse_price(text) == expected


@pytest.mark.parametrize("text", ["", "0.30", "EUR", "EUR 0.30", "-1EUR", "0.30€", "0.3EURO"])
def test_what_is_no_price_is_an_error_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"not a price.*0\.30EUR"):
        parse_price(text)


def test_an_endless_price_is_an_error_of_input() -> None:
    with pytest.raises(InputError, match="more than any price"):
        parse_price("9" * 400 + "EUR")


@pytest.mark.parametrize(("text", "expected"), [("0", 0.0), ("10", 10.0), ("1e1", 10.0), (" 2.5 ", 2.5)])
def test_numbers_with_their_ends(text: str, expected: float) -> None:
    assert math.isclose(parse_number(text, 0, 10), expected, abs_tol=0)


@pytest.mark.parametrize("text", ["-0.001", "10.001", "nan", "inf", "-inf", "", "ten", "1,5"])
def test_a_number_outside_names_what_is_allowed(text: str) -> None:
    with pytest.raises(InputError, match="a number from 0 to 10 g/kWh is allowed"):
        parse_number(text, 0, 10, "g/kWh")
