"""Metrics from what was counted, and sums of metrics that stay true where parts are missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from perun_like.analysis.windows import Increase
from perun_like.model.node import Metric, Provenance, Scope

NO_TIME = "the run has no duration"
WIDE = 0.5  # of the value: bounds that are farther apart don't resolve it


def exact(value: float, unit: str, scope: Scope = Scope.HOST) -> Metric:
    """A figure without any uncertainty."""
    return Metric(value, unit, value, value, scope=scope)


def counted(
    increase: Increase,
    owner: int,
    duration_s: float,
    *,
    name: str,
    unit: str,
    provenance: Provenance = Provenance.MEASURED,
    scope: Scope = Scope.HOST,
    method: str | None = None,
) -> Metric:
    """What was counted in an owner's windows as a metric.

    Args:
        increase: Of one sensor.
        owner: Index of the owner.
        duration_s: Time in its windows.
        name: The sensor, for where it is missing.
        unit: The sensor's.
        provenance: The sensor's.
        scope: Whose figure it is.
        method: How it was had.
    """
    missing_s = float(increase.missing_s[owner])
    if duration_s > 0 and missing_s >= duration_s:
        return Metric.absent(unit, f"{name}: no two successful reads", scope)
    upper = float(increase.upper[owner])
    partial = missing_s > 0
    return Metric(
        value=float(increase.value[owner]),
        unit=unit,
        lower=float(increase.lower[owner]),
        upper=None if partial or math.isnan(upper) else upper,
        provenance=provenance,
        scope=scope,
        missing=(name,) if partial else (),
        reason=f"{name}: nothing is known of {missing_s:.3g} s of {duration_s:.3g} s" if partial else None,
        method=method,
    )


def total(parts: Mapping[str, Metric], unit: str, absent: str, also_missing: Mapping[str, str] | None = None) -> Metric:
    """Sum of disjoint parts; "at least" if one of them is missing.

    Args:
        parts: Metrics by name.
        unit: Theirs.
        absent: The reason, if there is no part at all.
        also_missing: Names of parts that aren't among ``parts`` because they couldn't be read, with reasons.
    """
    known = [part for part in parts.values() if part.value is not None]
    lacking = {name: part.reason or "" for name, part in parts.items() if part.value is None}
    scope = next((part.scope for part in parts.values()), Scope.HOST)
    if not known:
        return Metric.absent(unit, _joined(lacking.values()) or absent, scope)
    lacking |= also_missing or {}
    missing = tuple(dict.fromkeys([*(name for part in known for name in part.missing), *lacking]))
    uppers = [part.upper for part in known]
    return Metric(
        value=_sum(part.value for part in known),
        unit=unit,
        lower=_sum(part.lower for part in known),
        upper=None if missing else _sum(uppers),
        provenance=provenance_of(known),
        scope=scope,
        missing=missing,
        reason=_joined([part.reason or "" for part in known] + list(lacking.values())),
        method=_joined(part.method or "" for part in known),
    )


def scaled(metric: Metric, factor: float, unit: str) -> Metric:
    """A metric times a factor that is known exactly and not negative."""

    def times(value: float | None) -> float | None:
        return None if value is None else value * factor

    return Metric(
        value=times(metric.value),
        unit=unit,
        lower=times(metric.lower),
        upper=times(metric.upper),
        provenance=metric.provenance,
        scope=metric.scope,
        missing=metric.missing,
        reason=metric.reason,
        method=metric.method,
        ci95=None
        if metric.ci95 is None or metric.n is not None
        else (metric.ci95[0] * factor, metric.ci95[1] * factor),
    )


def per_second(energy: Metric, duration_s: float) -> Metric:
    """Mean power of an energy."""
    if duration_s <= 0:
        return Metric.absent("W", NO_TIME, energy.scope)
    return scaled(energy, 1 / duration_s, "W")


def provenance_of(parts: Sequence[Metric]) -> Provenance:
    """Of a sum of parts that are not missing."""
    kinds = {part.provenance for part in parts}
    return kinds.pop() if len(kinds) == 1 else Provenance.MIXED


def _sum(values: Iterable[float | None]) -> float | None:
    numbers = list(values)
    return None if None in numbers else math.fsum(number for number in numbers if number is not None)


def _joined(texts: Iterable[str]) -> str | None:
    return "; ".join(dict.fromkeys(filter(None, texts))) or None
