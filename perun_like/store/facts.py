"""Facts in parts and results files, made into what this project's types say.

Both may come from anywhere. Whatever stands in them, what comes out of here has the types and ranges that analysis and
reports rely on, or it is a ``ValueError`` that says what is wrong. What a later version has added is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perun_like.model.recording import Process
from perun_like.sensing.contract import COUNTER, ESTIMATED, GAUGE, MEASURED, Missing, Sensor

LARGEST = 1 << 62
LAST_NS = 1 << 60  # 36 years after a boot: any sum of such times and of two hosts' real times fits in 64 bits
MOST_RANKS = 1 << 22  # missing ranks are listed: this many take 0.3 GB
MOST_ROUNDS = 1 << 31
_SMALLEST_SCALE = 1e-30
_LARGEST_FLOAT = 1e100  # of products of a few such numbers none is infinite


def integer(facts: Mapping[str, Any], key: str, low: int = 0, high: int = LARGEST) -> int:
    """A whole number from ``low`` to ``high``."""
    value = facts.get(key)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{key} is {_shown(value)}, not a whole number from {low} to {high}")
    return value


def number(facts: Mapping[str, Any], key: str, low: float = -math.inf) -> float:
    """A finite number that isn't below ``low``."""
    value: Any = facts.get(key)
    fits = type(value) is float or (type(value) is int and abs(value) <= LARGEST)
    if not fits or not low <= value <= _LARGEST_FLOAT or value < -_LARGEST_FLOAT:
        raise ValueError(f"{key} is {_shown(value)}, not a number{f' from {low:g} on' if low > -math.inf else ''}")
    return value  # type: ignore[no-any-return]


def text(facts: Mapping[str, Any], key: str, allowed: Sequence[str] = ()) -> str:
    """A text, or one of some."""
    value = facts.get(key)
    if not isinstance(value, str) or (allowed and value not in allowed):
        raise ValueError(f"{key} is {_shown(value)}, not {' or '.join(allowed) or 'a text'}")
    return value


def mapping(facts: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A JSON object."""
    value = facts.get(key)
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {_shown(value)}, where facts should be")  # noqa: TRY004 - the file is wrong, not a caller
    return value


def listed(facts: Mapping[str, Any], key: str, type_: type) -> list[Any]:
    """A list of elements of one type."""
    value = facts.get(key)
    if not isinstance(value, list) or not all(type(element) is type_ for element in value):
        raise ValueError(f"{key} is {_shown(value)}, not a list of {type_.__name__}")
    return value


def has(facts: Mapping[str, Any], key: str) -> bool:
    """Whether something is there, and isn't null."""
    return facts.get(key) is not None


def counts(facts: Mapping[str, Any], key: str) -> dict[str, int]:
    """How many of what."""
    found = mapping(facts, key)
    return {name: integer(found, name) for name in found}


def process(facts: Mapping[str, Any], first_ns: int = 0) -> Process:
    """What is known of a process; one whose end isn't known ends when it began.

    Args:
        facts: The fields of :class:`Process`.
        first_ns: The earliest that it can have begun: on another host's clock that may be before 0.
    """
    start_ns = integer(facts, "start_ns", first_ns, LAST_NS - first_ns)
    in_place = facts.get("in_place", False)
    if type(in_place) is not bool:
        raise ValueError(f"in_place is {_shown(in_place)}, neither true nor false")
    return Process(
        rank=integer(facts, "rank", high=MOST_RANKS),
        pid=integer(facts, "pid"),
        start_ns=start_ns,
        stop_ns=integer(facts, "stop_ns", start_ns, LAST_NS - first_ns) if has(facts, "stop_ns") else start_ns,
        exit_code=integer(facts, "exit_code", -LARGEST) if has(facts, "exit_code") else None,
        signal=integer(facts, "signal", high=1 << 16) if has(facts, "signal") else None,
        cpu_s=number(facts, "cpu_s", 0) if has(facts, "cpu_s") else None,
        max_rss_b=integer(facts, "max_rss_b") if has(facts, "max_rss_b") else None,
        max_rss_floor_b=integer(facts, "max_rss_floor_b") if has(facts, "max_rss_floor_b") else 0,
        round=integer(facts, "round", high=MOST_ROUNDS) if "round" in facts else 0,
        in_place=in_place,
        host=text(facts, "host") if "host" in facts else "",
        gpus=tuple(listed(facts, "gpus", str)) if has(facts, "gpus") else None,
    )


def sensor(facts: Mapping[str, Any]) -> Sensor:
    """A sensor; what isn't said of it has its default."""
    known = {name: facts[name] for name in Sensor._fields if name in facts}
    for name in ("id", "backend", "group", "quantity", "unit"):
        text(known, name)
    text(known, "kind", (COUNTER, GAUGE))
    for name in ("identity", "source", "outside"):
        text({name: "", **known}, name)
    for name in ("domain", "parent"):
        text({name: "", **_said(known, name)}, name)
    text({"provenance": MEASURED, **known}, "provenance", (MEASURED, ESTIMATED))
    _check_numbers(known)
    mapping({"model": {}, **known}, "model")
    return Sensor(**known)


def _check_numbers(known: Mapping[str, Any]) -> None:
    scale = number({"scale": 1, **known}, "scale")
    if abs(scale) < _SMALLEST_SCALE:
        raise ValueError("scale is 0: then nothing could be read")
    if scale < 0 and known["kind"] == COUNTER:
        raise ValueError(f"scale is {_shown(scale)}: a counter counts upwards")
    for name in ("resolution", "tick_ns", "lag_ns", "window_ns"):
        integer({name: 0, **known}, name)
    integer({"modulus": 1, **_said(known, "modulus")}, "modulus", 1, (1 << 63) - 1)
    for name in ("ceiling", "accuracy"):
        number({name: 0, **_said(known, name)}, name, 0)


def _said(known: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {key: known[key]} if has(known, key) else {}


def missing(facts: Mapping[str, Any]) -> Missing:
    """Something that could not be read."""
    for name in ("backend", "what", "reason"):
        text(facts, name)
    text({"remedy": "", **facts}, "remedy")
    if type(facts.get("quiet", False)) is not bool:
        raise ValueError(f"quiet is {_shown(facts['quiet'])}, neither true nor false")
    listed({"domains": [], **facts}, "domains", str)
    return Missing.of(facts)


def host(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Who a host is. What isn't known of it is None."""
    for name in ("hostname", "boot_id", "kernel", "machine", "cpu_model"):
        text({name: "", **_said(facts, name)}, name)
    for name in ("logical_cpus", "memory_b"):
        integer({name: 0, **_said(facts, name)}, name)
    return dict(facts)


def clocks(facts: Mapping[str, Any]) -> dict[str, int | None]:
    """A host's clocks at one instant; where it was asked, also how far real time may have been off, None if unknown."""
    known = {"monotonic_ns": integer(facts, "monotonic_ns", high=LAST_NS), "realtime_ns": integer(facts, "realtime_ns")}
    known |= {"boottime_ns": integer(facts, "boottime_ns")} if "boottime_ns" in facts else {}
    if "error_ns" not in facts:
        return {**known}
    return known | {"error_ns": None if facts["error_ns"] is None else integer(facts, "error_ns")}


def stats(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A sampler's own account: numbers, and failures by backend."""
    failures = mapping({"failures": {}, **facts}, "failures")
    for name in failures:
        text(failures, name)
    for name in facts.keys() - {"failures"}:
        if facts[name] is not None:
            number(facts, name)
    return dict(facts)


def metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What was run and how: what reports and analysis look at has the right type, the rest is whatever it is."""
    settings = mapping({"settings": {}, **_said(facts, "settings")}, "settings")
    text({"country": "", **_said(settings, "country")}, "country")
    number({"intensity_g_per_kwh": 0, **_said(settings, "intensity_g_per_kwh")}, "intensity_g_per_kwh", 0)
    number({"pue": 1, **settings}, "pue", 1)
    integer({"warmup": 0, **_said(settings, "warmup")}, "warmup")
    integer({"period_ns": 0, **_said(settings, "period_ns")}, "period_ns", high=LAST_NS)
    text({"powercap_root": "", **_said(settings, "powercap_root")}, "powercap_root")
    price = settings.get("price")
    if price is not None:
        if not isinstance(price, list) or len(price) != 2:
            raise ValueError(f"price is {_shown(price)}, not an amount and a currency")
        number({"price": price[0]}, "price", 0)
        text({"currency": price[1]}, "currency")
    integer({"period_ns": 0, **facts}, "period_ns", high=LAST_NS)
    command = facts.get("command", "")
    if not isinstance(command, str):
        listed(facts, "command", str)
    text({"function": "", **_said(facts, "function")}, "function")
    functions = mapping({"functions": {}, **facts}, "functions")
    for name in functions:
        text({name: "", **_said(functions, name)}, name)
    known: dict[str, Any] = {"settings": settings} if "settings" in facts else {}
    if "missing" in facts:
        known["missing"] = [missing(entry)._asdict() for entry in listed(facts, "missing", dict)]
    return {**facts, **known}


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}…"
