"""What the sensors of a run showed, as one CSV table: a row a sweep, a column a sensor.

Rows become text by the thousand: characters in a matrix (:mod:`perun_like.report.digits`). What a value is in SI units
is written exactly, from integers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from perun_like.model.recording import Bools, Int64s, Stream
from perun_like.report.digits import Cells, decimals, texts
from perun_like.store.reader import RunFile, StreamFile
from perun_like.store.trust import telling_damage

_ROWS_AT_ONCE = 1 << 12  # what their characters take fits into a processor's cache
_DECIMALS = {float(f"1e-{digits}"): digits for digits in range(10)}
_NS_DIGITS = 9
_COMMA, _NEWLINE = map(ord, ",\n")


class _Part(NamedTuple):
    """The sweeps of one backend on one host.

    ``names`` are the first cells of each row; ``start_ns`` is the run's start on this host's CLOCK_MONOTONIC.
    """

    stream: StreamFile
    titles: list[str]
    names: bytes
    start_ns: int


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
    for block in part.stream.blocks(_ROWS_AT_ONCE):
        output.write(_rows(block, part, places, width))


def _start_unix_ns(run: RunFile, hosts: Sequence[Mapping[str, Any]]) -> int:
    """When the run began, as real time if the first of its hosts has recorded that."""
    with telling_damage(run.path):
        return int(run.facts()["window_ns"][0]) - (_clock_ahead_ns(hosts[0]) if hosts else 0)


def _parts(file: RunFile, host: Mapping[str, Any], start_unix_ns: int) -> list[_Part]:
    return [
        _Part(
            stream=stream,
            titles=_titles(stream),
            names=_line([str(host["host"].get("hostname", "")), stream.backend]).encode("utf-8", "backslashreplace"),
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


def _rows(block: Stream, part: _Part, places: Sequence[int], width: int) -> bytes:
    cells: list[Cells | None] = [None] * width
    for place, raw, valid, sensor in zip(places, block.raw, block.valid, block.sensors, strict=True):
        cells[place] = _cells(np.asarray(raw), sensor.scale, valid)
    return _joined(len(block.t0_ns), part.names, [decimals(block.t0_ns - part.start_ns, _NS_DIGITS), *cells])


def _joined(rows: int, names: bytes, columns: Sequence[Cells | None]) -> bytes:
    """Lines of cells, each after a comma; None stands for a column without anything."""
    size = len(names) + sum(1 if cells is None else 1 + cells.kept.shape[1] for cells in columns) + 1
    characters, kept = np.empty((rows, size), np.uint8), np.ones((rows, size), np.bool_)
    characters[:, : len(names)] = np.frombuffer(names, np.uint8)
    at = len(names)
    for cells in columns:
        characters[:, at] = _COMMA
        at += 1
        if cells is not None:
            end = at + cells.kept.shape[1]
            characters[:, at:end], kept[:, at:end] = cells
            at = end
    characters[:, at] = _NEWLINE
    return characters[kept].tobytes()


def _cells(raw: Int64s, scale: float, valid: Bools) -> Cells:
    """``raw * scale`` in decimal: exact if ``scale`` is a power of ten, else the nearest floating-point number."""
    digits = _DECIMALS.get(scale)
    cells = texts([repr(value) for value in (raw * scale).tolist()]) if digits is None else decimals(raw, digits)
    return cells if valid.all() else Cells(cells.characters, cells.kept & valid[:, np.newaxis])


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
