"""What an option's text may be. Each function gives the value, or raises InputError with what is allowed."""

from __future__ import annotations

from typing import NoReturn

from perun_like.errors import InputError
from perun_like.units import NS_PER_S, parse_duration_ns, parse_number, parse_price, parse_size_b

MIN_PERIOD_NS = 1_000_000
MAX_PERIOD_NS = 60 * NS_PER_S
MOST_ROUNDS = 10_000
MIN_SPOOL_B = 1_000_000
MAX_SPOOL_B = 10**15
MAX_NAME_BYTES = 200  # leaves room in the 255 that file systems allow for what we append
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


def _fail(message: str) -> NoReturn:
    raise InputError(message)


def name(text: str) -> str:
    """The same text, if it can be the name of a file or directory of ours.

    Raises:
        InputError: it can't; the message says what is allowed.
    """
    allowed = f"it becomes a file name of at most {MAX_NAME_BYTES} bytes, without / or \\ or control characters"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        _fail(f"{text!r} is not valid text; {allowed}")
    if not text.strip() or text != text.strip():
        _fail(f"{text!r} is empty or has a space at an end; {allowed}")
    if text.startswith("."):
        _fail(f"{text!r} starts with a dot, which would hide the file; {allowed}")
    if size > MAX_NAME_BYTES:
        _fail(f"{text[:20]!r}… is {size} bytes long; {allowed}")
    if any(c in "/\\" or not c.isprintable() for c in text):
        _fail(f"{text!r} has a character that is not allowed; {allowed}")
    return text


def period(text: str) -> int:
    """Nanoseconds of a sampling period."""
    try:
        period_ns = parse_duration_ns(text)
    except InputError as error:
        raise InputError(f"{error}; at least 1ms, at most 60s") from None
    if period_ns < MIN_PERIOD_NS:
        _fail(f"period too short: {text!r}; at least 1ms, at most 60s")
    if period_ns > MAX_PERIOD_NS:
        _fail(f"period too long: {text!r}; at least 1ms, at most 60s")
    return period_ns


def spool_budget(text: str) -> int:
    """Bytes that samples may take."""
    size_b = parse_size_b(text)
    if not MIN_SPOOL_B <= size_b <= MAX_SPOOL_B:
        _fail(f"{text!r} is not allowed for samples: at least 1MB, at most 1000TB")
    return size_b


def path(text: str) -> str:
    """A path, as it is."""
    if not text or "\0" in text:
        _fail(f"{text!r} is not a path: it must not be empty")
    return text


def country(text: str) -> str:
    """A country, as it is: the table of intensities knows which there are."""
    if not text.strip() or not text.isprintable():
        _fail(f"{text!r} is not a country: write its name or code, such as DE")
    return text.strip()


def backends(text: str) -> tuple[str, ...]:
    """Names of backends."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(name and name.isprintable() for name in names):
        _fail(f"{text!r} is not a list of backends: write names with commas between them, such as rapl,host")
    return names


def flag(text: str) -> bool:
    """Whether a flag is on."""
    word = text.strip().lower()
    if word not in (*_YES, *_NO):
        _fail(f"{text!r} is neither yes nor no: allowed are {', '.join((*_YES, *_NO))}")
    return word in _YES


def rounds(text: str) -> int:
    """How often a program is run."""
    return _times(text, 1)


def warmup(text: str) -> int:
    """How often a program is run without being recorded."""
    return _times(text, 0)


def _times(text: str, least: int) -> int:
    allowed = f"write a whole number from {least} to {MOST_ROUNDS}"
    if not text.strip().isascii() or not text.strip().isdigit():
        _fail(f"{text!r} is not a number of rounds: {allowed}")
    if not least <= int(text) <= MOST_ROUNDS:
        _fail(f"{text} rounds are not allowed: {allowed}")
    return int(text)


def intensity(text: str) -> float:
    """Grams of CO2e per kWh."""
    return parse_number(text, 0, 10_000, "g/kWh")


def pue(text: str) -> float:
    """Energy of the site over the energy of its computers: never below 1."""
    return parse_number(text, 1, 10)


def price(text: str) -> tuple[float, str]:
    """Amount per kWh and currency."""
    return parse_price(text)


def cpu_tdp(text: str) -> float:
    """Watts of all CPUs of a host."""
    return parse_number(text, 0.1, 100_000, "W")
