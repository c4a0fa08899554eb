"""How regions are spread over the ranks of a job: a rank that takes longer than the mean has the others wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from perun_like.analysis.totals import WIDE, provenance_of
from perun_like.model.node import Balance, Metric, Region, Scope

_WHAT = ("runtime_s", "energy_j")


def balance_of(regions: Sequence[Region]) -> list[Balance]:
    """What each region was over the ranks in which it was active, in order of name."""
    of_name: dict[str, list[Region]] = {}
    for region in regions:
        of_name.setdefault(region.name, []).append(region)
    return [_balance(name, of_name[name]) for name in sorted(of_name)]


def _balance(name: str, regions: Sequence[Region]) -> Balance:
    metrics: dict[str, Metric] = {}
    at: dict[str, int] = {}
    for what in _WHAT:
        parts = {region.rank: region.metrics[what] for region in regions}
        spread = _spread({rank: part for rank, part in parts.items() if part.value is not None})
        absent = next(iter(parts.values()))  # each is missing, for the same reason
        metrics |= {f"{what}_{word}": spread.get(word, absent) for word in ("min", "mean", "max")}
        at |= {f"{what}_{word}": _rank_of(parts, metric) for word, metric in spread.items() if word != "mean"}
    metrics["imbalance_percent"] = _imbalance(metrics["runtime_s_mean"], metrics["runtime_s_max"])
    return Balance(name, len(regions), sum(region.calls for region in regions), metrics, at)


def _rank_of(parts: Mapping[int, Metric], extreme: Metric) -> int:
    """The first rank that has this value."""
    return min(rank for rank, part in parts.items() if part.value == extreme.value)


def _spread(known: Mapping[int, Metric]) -> dict[str, Metric]:
    """Minimum, mean and maximum over ranks; nothing if no rank has the metric."""
    if not known:
        return {}
    parts = list(known.values())
    count = len(parts)
    return {
        "min": _over(parts, min, "smallest"),
        "mean": _over(parts, lambda numbers: math.fsum(numbers) / count, "mean"),
        "max": _over(parts, max, "largest"),
    }


def _over(parts: Sequence[Metric], of: Callable[[Iterable[float]], float], word: str) -> Metric:
    """A figure over ranks. What is certain of each rank is certain of it: all three grow with each of the parts."""
    missing = tuple(dict.fromkeys(name for part in parts for name in part.missing))
    lowers, uppers = ([getattr(part, bound) for part in parts] for bound in ("lower", "upper"))
    common = set.intersection(*(set((part.method or "").split("; ")) for part in parts)) - {""}
    ordered = [text for text in (parts[0].method or "").split("; ") if text in common]
    return Metric(
        value=of(float(part.value or 0.0) for part in parts),
        unit=parts[0].unit,
        lower=None if None in lowers else of(lowers),
        upper=None if missing or None in uppers else of(uppers),
        provenance=provenance_of(parts),
        scope=parts[0].scope,
        missing=missing,
        reason=next((part.reason for part in parts if part.reason), None),
        method="; ".join([f"{word} of {len(parts):,} ranks", *ordered]),
        ci95=_interval(parts, of),
    )


def _interval(parts: Sequence[Metric], of: Callable[[Iterable[float]], float]) -> tuple[float, float] | None:
    """The interval of a figure of one round over ranks, if statistics say what it is on any of them."""
    ends = [part.ci95 or (part.lower, part.upper) for part in parts]
    if not any(part.ci95 and part.n is None for part in parts) or any(None in each for each in ends):
        return None
    low, high = (of(float(each[end] or 0.0) for each in ends) for end in (0, 1))
    value = of(float(part.value or 0.0) for part in parts)
    return (low, high) if high - low <= WIDE * value else None


def _imbalance(mean: Metric, longest: Metric) -> Metric:
    if not mean.value or longest.value is None:
        return Metric.absent("%", mean.reason or "it took no time within the run", Scope.APPLICATION)
    value = max(100 * (longest.value / mean.value - 1), 0.0)
    is_exact = mean.lower == mean.value == mean.upper
    bound = value if is_exact else None
    return Metric(
        value, "%", bound, bound, scope=Scope.APPLICATION, method="longest time of a rank over the mean, less 1"
    )
