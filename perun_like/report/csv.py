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
from perun_like.units import NS_PER_S

_ROWS_AT_ONCE = 512
_ROWS_IN_MEMORY = 1 << 13  # of which half a megabyte becomes a few megabytes of Python integers
_DECIMALS = {float(f"1e-{digits}"): digits for digits in range(10)}
_NS = 1 / NS_PER_S


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
        FileError: the run's file is damaged.
        OSError: the output can't be written.
    """
    facts = run.facts()
    parts = [(host, stream) for host in facts["hosts"] for stream in run.streams(host)]
    columns = list(dict.fromkeys(title for _, stream in parts for title in _titles(stream)))
    output.write(_line(["host", "backend", "time_s", *columns]) + b"\n")
    for host, stream in parts:
        names = _line([str(host["host"].get("hostname", "")), stream.backend])
        places = [columns.index(title) for title in _titles(stream)]
        start_ns = _start_ns(facts, host)
        for block in stream.blocks(_ROWS_IN_MEMORY):
            for text in _rows(block, places, len(columns), start_ns, names.decode()):
                output.write(text)


def _titles(stream: StreamFile) -> list[str]:
    return [f"{sensor.id} [{sensor.unit}]" for sensor in stream.sensors]


def _start_ns(facts: Mapping[str, Any], host: Mapping[str, Any]) -> int:
    """The run's start on a host's CLOCK_MONOTONIC, by the real time that all hosts share."""
    start_ns = int(facts["window_ns"][0])
    return start_ns + _clock_ahead_ns(host) - _clock_ahead_ns(facts["hosts"][0])


def _clock_ahead_ns(host: Mapping[str, Any]) -> int:
    clocks = host["host"].get("clocks")
    return int(clocks[0]["monotonic_ns"]) - int(clocks[0]["realtime_ns"]) if clocks and clocks[0] else 0


def _rows(block: Stream, places: Sequence[int], width: int, start_ns: int, names: str) -> Iterator[bytes]:
    time = _cells(block.t0_ns - start_ns, None, _NS)
    columns = [_cells(raw, ok, s.scale) for raw, ok, s in zip(block.raw, block.valid, block.sensors, strict=True)]
    templates = [""] * width
    for place, column in zip(places, columns, strict=True):
        templates[place] = column.template
    row = ",".join([names.replace("%", "%%"), time.template, *templates]) + "\n"
    # Placeholders are filled from left to right, whatever the order of the stream's sensors.
    in_order = [columns[i] for i in sorted(range(len(places)), key=places.__getitem__)]
    fillings = [filling for cells in (time, *in_order) for filling in cells.fillings]
    for start in range(0, len(block.t0_ns), _ROWS_AT_ONCE):
        some = [filling[start : start + _ROWS_AT_ONCE] for filling in fillings]
        yield (row * len(some[0]) % tuple(chain.from_iterable(zip(*some, strict=True)))).encode()


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


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")
