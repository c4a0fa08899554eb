"""Results as plain dictionaries and back: what JSON exports and the results file have in common. No I/O.

The form is fixed, others script against it::

    {"schema": {"name": "perun-like", "version": 1}, "root": node}
    node    {"id", "type", "metrics": {name: metric}, "nodes": [node…], "metadata": {…}}, of a RUN also "regions",
            and of a MULTI_RUN that has some; of a job also "ranks" and "balance"
    metric  {"value", "unit", "lower", "upper", "provenance", "scope"}, where set also "reason", "missing", "method",
            "mean", "std", "n", "ci95"; the last four always at a MULTI_RUN
    region  {"name", "rank", "calls", "metrics"}
    rank    {"rank", "host", "metrics", "metadata"}: a rank of a job; "host" is the id of its NODE
    balance {"name", "ranks", "calls", "metrics", "at"}: a region over the ranks in which it was active; "at" has the
            rank of each minimum and maximum, by the metric's name
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

from perun_like.model.node import Balance, DataNode, Metric, NodeType, Provenance, Rank, Region, Scope

NAME = "perun-like"
VERSION = 1

_LARGEST = 1e100
_OPTIONAL = ("reason", "missing", "method")
_STATISTICS = ("mean", "std", "n", "ci95")


def to_dict(tree: DataNode) -> dict[str, Any]:
    """A result as it is exported: dictionaries, lists, strings, finite numbers, booleans and None only."""
    return {"schema": {"name": NAME, "version": VERSION}, "root": _node_dict(tree)}


def encode_tree(tree: DataNode) -> Iterator[str]:
    """The JSON of ``to_dict(tree)`` in pieces, so that what is said of many hosts is never there twice."""
    yield f'{{"schema":{encode({"name": NAME, "version": VERSION})},"root":'
    yield from _node_pieces(tree)
    yield "}"


def _node_pieces(node: DataNode) -> Iterator[str]:
    if node.type in (NodeType.NODE, NodeType.DEVICE_GROUP, NodeType.SENSOR):
        yield encode(_node_dict(node))
        return
    shell = _node_dict(replace(node, nodes=[], regions=[], ranks=[], balance=[]))
    yield encode({key: value for key, value in shell.items() if key not in ("nodes", "regions")})[:-1]
    yield from _list_pieces("nodes", map(_node_pieces, node.nodes))
    rounds = node.type is NodeType.MULTI_RUN
    if node.type is NodeType.RUN or (rounds and node.regions):
        yield from _list_pieces("regions", ([encode(_region_dict(region))] for region in node.regions))
    if node.ranks:
        yield from _list_pieces("ranks", ([encode(_rank_dict(rank))] for rank in node.ranks))
    if node.balance:
        yield from _list_pieces("balance", ([encode(_balance_dict(balance))] for balance in node.balance))
    yield "}"


def _list_pieces(name: str, entries: Iterable[Iterable[str]]) -> Iterator[str]:
    yield f',"{name}":['
    for number, entry in enumerate(entries):
        if number:
            yield ","
        yield from entry
    yield "]"


def from_dict(document: Any) -> DataNode:
    """The result that ``to_dict`` made a document of. Keys it doesn't know are ignored.

    Raises:
        ValueError: the document isn't such a result; the message says what is wrong with it.
    """
    schema = _typed(document, "schema", dict)
    if schema.get("name") != NAME:
        raise ValueError(f"its schema is {schema.get('name')!r}, not {NAME!r}")
    if _typed(schema, "version", int) > VERSION:
        raise ValueError(f"its schema has version {schema['version']}, newer than {VERSION}")
    return _node(_typed(document, "root", dict))


def encode(value: Any, indent: int | None = None) -> str:
    """JSON in ASCII of anything: what JSON can't say becomes null (not a finite number) or a string."""
    separators = (",", ":") if indent is None else None
    return json.dumps(plain(value), allow_nan=False, indent=indent, separators=separators)


def plain(value: Any) -> Any:
    """A value made of what JSON has. NaN and infinities become None: they are not figures."""
    if value is None or value is True or value is False or type(value) is str:
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # a numpy scalar or array
        return plain(value.tolist())
    return str(value)


def _node_dict(node: DataNode) -> dict[str, Any]:
    rounds = node.type is NodeType.MULTI_RUN
    result = {
        "id": node.id,
        "type": node.type.value,
        "metrics": _metrics_dict(node.metrics, rounds),
        "nodes": [_node_dict(child) for child in node.nodes],
        "metadata": plain(node.metadata),
    }
    if node.type is NodeType.RUN or (rounds and node.regions):
        result["regions"] = [_region_dict(region) for region in node.regions]
    if node.ranks:
        result["ranks"] = [_rank_dict(rank) for rank in node.ranks]
    if node.balance:
        result["balance"] = [_balance_dict(balance) for balance in node.balance]
    return result


def _region_dict(region: Region) -> dict[str, Any]:
    metrics = _metrics_dict(region.metrics)
    return {"name": region.name, "rank": region.rank, "calls": region.calls, "metrics": metrics}


def _rank_dict(rank: Rank) -> dict[str, Any]:
    metrics, metadata = _metrics_dict(rank.metrics), plain(rank.metadata)
    return {"rank": rank.rank, "host": rank.host, "metrics": metrics, "metadata": metadata}


def _balance_dict(balance: Balance) -> dict[str, Any]:
    metrics = _metrics_dict(balance.metrics)
    known = {"name": balance.name, "ranks": balance.ranks, "calls": balance.calls}
    return {**known, "metrics": metrics, "at": dict(balance.at)}


def _metrics_dict(metrics: Mapping[str, Metric], rounds: bool = False) -> dict[str, Any]:
    return {name: _metric_dict(metric, rounds) for name, metric in metrics.items()}


def _metric_dict(metric: Metric, rounds: bool) -> dict[str, Any]:
    result = {
        "value": metric.value,
        "unit": metric.unit,
        "lower": metric.lower,
        "upper": metric.upper,
        "provenance": metric.provenance,
        "scope": metric.scope,
    }
    result |= {key: value for key in _OPTIONAL if (value := getattr(metric, key))}
    result |= {key: value for key in _STATISTICS if (value := getattr(metric, key)) is not None or rounds}
    return {key: plain(value) for key, value in result.items()}


def _node(entry: Any) -> DataNode:
    type_ = NodeType(_typed(entry, "type", str))
    return DataNode(
        id=_typed(entry, "id", str),
        type=type_,
        metrics=_metrics(entry),
        nodes=[_node(child) for child in _typed(entry, "nodes", list)],
        metadata=_typed(entry, "metadata", dict),
        regions=[_region(region) for region in _regions(entry, type_)],
        ranks=[_rank(rank) for rank in _optional(entry, "ranks", list) or ()],
        balance=[_balance(balance) for balance in _optional(entry, "balance", list) or ()],
    )


def _regions(entry: Any, type_: NodeType) -> list[Any]:
    if type_ is NodeType.RUN:
        return list(_typed(entry, "regions", list))
    return list(_optional(entry, "regions", list) or ()) if type_ is NodeType.MULTI_RUN else []


def _region(entry: Any) -> Region:
    rank, calls = _typed(entry, "rank", int), _typed(entry, "calls", int)
    return Region(_typed(entry, "name", str), rank, calls, _metrics(entry))


def _rank(entry: Any) -> Rank:
    host, metadata = _typed(entry, "host", str), _typed(entry, "metadata", dict)
    return Rank(_typed(entry, "rank", int), host, _metrics(entry), metadata)


def _balance(entry: Any) -> Balance:
    ranks, calls, at = _typed(entry, "ranks", int), _typed(entry, "calls", int), _typed(entry, "at", dict)
    return Balance(_typed(entry, "name", str), ranks, calls, _metrics(entry), {key: _typed(at, key, int) for key in at})


def _metrics(entry: Any) -> dict[str, Metric]:
    return {name: _metric(metric) for name, metric in _typed(entry, "metrics", dict).items()}


def _metric(entry: Any) -> Metric:
    ci95 = [_number(end) for end in _optional(entry, "ci95", list) or ()]
    return Metric(
        value=_number(entry.get("value")),
        unit=_typed(entry, "unit", str),
        lower=_number(entry.get("lower")),
        upper=_number(entry.get("upper")),
        provenance=Provenance(_typed(entry, "provenance", str)),
        scope=Scope(_typed(entry, "scope", str)),
        missing=tuple(str(part) for part in _optional(entry, "missing", list) or ()),
        reason=_optional(entry, "reason", str),
        method=_optional(entry, "method", str),
        mean=_number(entry.get("mean")),
        std=_number(entry.get("std")),
        n=_optional(entry, "n", int),
        ci95=(ci95[0], ci95[1]) if len(ci95) == 2 and None not in ci95 else None,  # type: ignore[arg-type]
    )


def _typed(entry: Any, key: str, type_: type) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, type_) or isinstance(value, bool):
        raise ValueError(f"{key!r} is not a {type_.__name__} everywhere")  # noqa: TRY004 - the document is wrong, not a caller
    return value


def _optional(entry: Any, key: str, type_: type) -> Any:
    is_set = isinstance(entry, dict) and entry.get(key) is not None
    return _typed(entry, key, type_) if is_set else None


def _number(value: Any) -> float | int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > _LARGEST):
        raise ValueError(f"{str(value)[:40]!r} stands where a number should")
    return value
