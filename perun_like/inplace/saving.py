"""The process that saves what another one has measured of itself: see :mod:`perun_like.inplace.saver`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from perun_like.errors import PerunError
from perun_like.model.serial import to_dict
from perun_like.monitoring.results import recording_of, recording_of_all
from perun_like.monitoring.saving import save_each
from perun_like.report.summary import text_for_all
from perun_like.store.place import RunPlace


def main() -> None:
    """Do what the order on standard input says, and answer on standard output."""
    text = sys.stdin.read()
    if not text:
        return  # who made us needs nothing after all
    try:
        answer = _saved(json.loads(text))
    except Exception as error:  # noqa: BLE001 - a process edge: who asked is told, with the traceback of our own faults
        from traceback import format_exc

        answer = {"error": str(error) if isinstance(error, (PerunError, OSError)) else format_exc()}
    json.dump(answer, sys.stdout)


def _saved(order: dict[str, Any]) -> dict[str, Any]:
    place = RunPlace(order["path"], order["parts"])
    if not os.path.isdir(place.parts):
        raise PerunError(f"{place.parts} was removed while it was written")
    if order["run"]["size"] > 1:
        recording = recording_of_all(place)
        place = place.named(recording.run_id, recording.name)
    else:
        recording = recording_of(place, [order["process"]], order["run"], order["problem"])
    saved = save_each(recording, place)
    shown = [(tree, _shortest(path)) for tree, path in saved]
    report = text_for_all(sys.stderr, shown, colour=order["colour"]) if saved else ""
    return {"report": report, "trees": [to_dict(tree) for tree, _ in saved if order["trees"]]}


def _shortest(path: str) -> str:
    """A path as people would write it from here."""
    try:
        below = os.path.relpath(path)
    except OSError:  # the current directory has been deleted
        return path
    return path if below.startswith(os.pardir) else below
