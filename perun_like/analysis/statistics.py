"""What several rounds say together: mean, standard deviation, and how sure the mean is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from perun_like.analysis.totals import provenance_of
from perun_like.model.node import Metric

_NORMAL_975 = 1.959963984540054  # the same quantile of the normal distribution, for infinite degrees of freedom
_SERIES_UP_TO = 200  # degrees of freedom: above it three terms of an expansion have more than ten correct digits


class Spread(NamedTuple):
    """Figures over rounds.

    Attributes:
        mean: The mean.
        std: Standard deviation of a single round (n - 1 in its denominator); None of a single one.
        n: How many rounds.
        ci95: The interval that contains the true mean with 95 % confidence, if rounds differ by chance; else None.
    """

    mean: float
    std: float | None
    n: int
    ci95: tuple[float, float] | None

    def of(self, metric: Metric) -> Metric:
        """A metric with these statistics."""
        return metric._replace(mean=self.mean, std=self.std, n=self.n, ci95=self.ci95)


def spread(values: Sequence[float]) -> Spread:
    """Statistics of at least one value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Spread(mean, None, n, None)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_975(n - 1) * std / math.sqrt(n)
    return Spread(mean, std, n, (mean - half, mean + half))


@lru_cache(maxsize=4096)
def student_975(freedom: float) -> float:
    """The 0.975 quantile of Student's distribution: 95 % lie between it and its negative.

    Args:
        freedom: Degrees of freedom, a whole number from 1 on or infinity.
    """
    if freedom > _SERIES_UP_TO:
        return _expanded(freedom)
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # bisection, to the last bit of a double
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, int(freedom)) < 0.95 else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """The probability between -t and t, t being tan(angle) sqrt(freedom).

    M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    odd, cosine = freedom % 2, math.cos(angle)
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (power - 1) / power
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def _expanded(freedom: float) -> float:
    """The same for many degrees of freedom (Abramowitz and Stegun, 26.7.5)."""
    z = _NORMAL_975
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def mean_of(parts: Sequence[Metric], whose: str) -> Metric:
    """The mean of a metric over the rounds that have it.

    Args:
        parts: The metric in each round.
        whose: What these rounds are, ``5 rounds``.

    Returns:
        Its bounds are hard where theirs are: the mean lies between the means of the bounds. Missing if it is
        missing in all of them.
    """
    known = [part for part in parts if part.value is not None]
    if not known:
        return Metric.absent(parts[0].unit, _told(parts, len(parts)) or "there was no round", parts[0].scope)
    found = spread([float(part.value) for part in known if part.value is not None])
    missing = tuple(dict.fromkeys(name for part in known for name in part.missing))
    metric = Metric(
        value=found.mean,
        unit=known[0].unit,
        lower=_mean([part.lower for part in known]),
        upper=None if missing else _mean([part.upper for part in known]),
        provenance=provenance_of(known),
        scope=known[0].scope,
        missing=missing,
        reason=_told([part for part in parts if part.reason], len(parts)),
        method="; ".join([f"mean of {whose}", *_common([part.method for part in known if part.method])]),
    )
    return found.of(metric)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, if there are all."""
    numbers = [value for value in values if value is not None]
    return math.fsum(numbers) / len(numbers) if len(numbers) == len(values) else None


def _told(parts: Sequence[Metric], rounds: int) -> str | None:
    """Why rounds lack something: the first reason, and in how many of them if not in all."""
    if not parts:
        return None
    absent = sum(part.value is None for part in parts)
    first = next((part.reason for part in parts if part.value is None), parts[0].reason) or "the reason is not recorded"
    if len(parts) == rounds and absent in (0, rounds):
        return first
    return (
        f"missing in {absent} of {rounds} rounds: {first}" if absent else f"in {len(parts)} of {rounds} rounds: {first}"
    )


def _common(methods: Iterable[str]) -> list[str]:
    """What the methods of all rounds say."""
    each = [method.split("; ") for method in methods]
    return [
        text for text in dict.fromkeys(text for some in each for text in some) if all(text in some for some in each)
    ]
