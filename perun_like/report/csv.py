"""What the sensors of a run showed, as one CSV table: a row a sweep, a column a sensor.

Rows are formatted by the hundred from one template, which takes a quarter of the time of the csv module; what a value
is in SI units is written exactly, from integers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from perun_like.model.recording import Bools, Int64s, Stream
from perun_like.store.reader import RunFile, StreamFile
from perun_like.store.trust import telling_damage
from perun_like.units import NS_PER_S

_ROWS_AT_ONCE = 512
_ROWS_IN_MEMORY = 1 << 13  # of which half a megabyte becomes a few megabytes of Python integers
_DECIMALS = {float(f"1e-{digits}"): digits for digits in range(10)}
_NS = 1 / NS_PER_S


class _Part(NamedTuple):
    """The sweeps of one backend on one host.

    ``names`` are the first cells of each row; ``start_ns`` is the run's start on this host's CLOCK_MONOTONIC.
    """

    stream: StreamFile
    titles: list[str]
    names: str
    start_ns: int


class _Cells(NamedTuple):
    """Some rows of a column: what stands for one cell in a template, and lists of what fills it, one a placeholder."""

    template: str
    fillings: Sequence[list[Any]]


def write_table(run: RunFile, output: BinaryIO) -> None:
    """Write all sweeps of a run as CSV in UTF-8; memory does not grow with their number.

    Columns are ``host``, ``backend``, ``time_s`` (just before the sweep, from the run's start) and one for each sensor,
    called ``id [unit]``. Cells are empty where a read failed, and for sensors of other backends: each backend has
    its own times.

    Raises:
        FileError: the run's file or that of one of its hosts is damaged, or the latter is missing.
        OSError: the output can't be written.
    """
    columns = _columns(run)
    output.write(_line(["host", "backend", "time_s", *columns]).encode("utf-8", "backslashreplace") + b"\n")
    places = {title: place for place, title in enumerate(columns)}
    start_unix_ns: int | None = None
    for file in run.files():
        with telling_damage(file.path):
            hosts = file.facts()["hosts"]
            start_unix_ns = _start_unix_ns(run, hosts) if start_unix_ns is None else start_unix_ns
            parts = [part for host in hosts for part in _parts(file, host, start_unix_ns)]
        for part in parts:
            _write_part(part, [places[title] for title in part.titles], len(columns), output)


def _columns(run: RunFile) -> list[str]:
    """The titles of all columns: of many hosts, one file after the other is looked into."""
    titles: dict[str, None] = {}
    for file in run.files():
        with telling_damage(file.path):
            streams = [stream for host in file.facts()["hosts"] for stream in file.streams(host)]
            titles |= dict.fromkeys(title for stream in streams for title in _titles(stream))
    return list(titles)


def _write_part(part: _Part, places: Sequence[int], width: int, output: BinaryIO) -> None:
    for block in part.stream.blocks(_ROWS_IN_MEMORY):
        for text in _rows(block, part, places, width):
            output.write(text.encode("utf-8", "backslashreplace"))


def _start_unix_ns(run: RunFile, hosts: Sequence[Mapping[str, Any]]) -> int:
    """When the run began, as real time if the first of its hosts has recorded that."""
    with telling_damage(run.path):
        return int(run.facts()["window_ns"][0]) - (_clock_ahead_ns(hosts[0]) if hosts else 0)


def _parts(file: RunFile, host: Mapping[str, Any], start_unix_ns: int) -> list[_Part]:
    return [
        _Part(
            stream=stream,
            titles=_titles(stream),
            names=_line([str(host["host"].get("hostname", "")), stream.backend]),
            start_ns=start_unix_ns + _clock_ahead_ns(host),
        )
        for stream in file.streams(host)
    ]


def _titles(stream: StreamFile) -> list[str]:
    titles: list[str] = []
    for sensor in stream.sensors:
        title = f"{sensor.id} [{sensor.unit}]"
        titles.append(title if title not in titles else f"{title} #{len(titles)}")
    return titles


def _clock_ahead_ns(host: Mapping[str, Any]) -> int:
    """CLOCK_MONOTONIC less real time, which all hosts share; 0 where that wasn't recorded."""
    clocks = host["host"].get("clocks")
    return int(clocks[0]["monotonic_ns"]) - int(clocks[0]["realtime_ns"]) if clocks and clocks[0] else 0


def _rows(block: Stream, part: _Part, places: Sequence[int], width: int) -> Iterator[str]:
    time = _cells(block.t0_ns - part.start_ns, None, _NS)
    columns = [_cells(raw, ok, s.scale) for raw, ok, s in zip(block.raw, block.valid, block.sensors, strict=True)]
    templates = [""] * width
    for place, column in zip(places, columns, strict=True):
        templates[place] = column.template
    row = ",".join([part.names.replace("%", "%%"), time.template, *templates]) + "\n"
    # Placeholders are filled from left to right, whatever the order of the stream's sensors.
    in_order = [columns[i] for i in sorted(range(len(places)), key=places.__getitem__)]
    fillings = [filling for cells in (time, *in_order) for filling in cells.fillings]
    for start in range(0, len(block.t0_ns), _ROWS_AT_ONCE):
        some = [filling[start : start + _ROWS_AT_ONCE] for filling in fillings]
        yield row * len(some[0]) % tuple(chain.from_iterable(zip(*some, strict=True)))


def _cells(raw: Int64s, valid: Bools | None, scale: float) -> _Cells:
    """``raw * scale`` in decimal: exact if ``scale`` is a power of ten, else the nearest floating-point number."""
    digits = _DECIMALS.get(scale)
    if digits == 0:
        cells = _Cells("%d", [raw.tolist()])
    elif digits is not None and (raw >= 0).all():
        whole, rest = np.divmod(raw, 10**digits)
        cells = _Cells(f"%d.%0{digits}d", [whole.tolist(), rest.tolist()])
    else:
        cells = _Cells("%r", [(raw * scale if digits is None else raw / 10.0**digits).tolist()])
    return cells if valid is None or valid.all() else _with_gaps(cells, valid)


def _with_gaps(cells: _Cells, valid: Bools) -> _Cells:
    values = zip(*cells.fillings, strict=True)
    return _Cells("%s", [[cells.template % value if ok else "" for value, ok in zip(values, valid, strict=True)]])


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
