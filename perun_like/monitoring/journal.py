"""What is being made of a job's parts, noted among them: so that who comes after a kill knows how far it had got.

A run of many hosts can't be saved in one step. The note is written before the first of them and removed after the last.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import NamedTuple

from perun_like.errors import FileError
from perun_like.sampling.distrust import parse_object, read_plain
from perun_like.store.belongings import remove_belongings
from perun_like.store.place import RunPlace
from perun_like.store.publish import Stamp, has_stamp, sync_directory, write_whole
from perun_like.store.references import plain_name
from perun_like.store.trust import telling_damage

_NAME = "published"
_MOST_BYTES = 1 << 16


class _Intent(NamedTuple):
    path: str
    stamp: Stamp


def write(place: RunPlace, stamp: Stamp) -> None:
    """Note which file the parts are about to become.

    Raises:
        PerunError: it can't be written.
    """
    names = os.path.relpath(place.path, os.path.dirname(place.parts)).split(os.sep)
    write_whole(_path(place), json.dumps({"path": names, "stamp": stamp}).encode(), replace=True)


def published(place: RunPlace) -> str | None:
    """The file that the parts have become, if it is there: then they needn't be looked at any more."""
    intent = _read(place)
    with suppress(OSError):
        if intent is not None and has_stamp(intent.path, intent.stamp):
            return intent.path
    return None


def intended(place: RunPlace) -> str | None:
    """The file that the parts were about to become; None if nobody has come that far."""
    intent = _read(place)
    return None if intent is None else intent.path


def release(place: RunPlace) -> None:
    """Remove the parts, the note last: where it is, what is left of them is not a run."""
    remove_belongings(place.parts, but=_NAME)
    sync_directory(place.parts)
    place.release()


def _read(place: RunPlace) -> _Intent | None:
    """The note; None if there is none."""
    try:
        text = read_plain(_path(place), _MOST_BYTES)
    except OSError:
        return None
    try:
        with telling_damage(_path(place)):
            note = parse_object(text)
            names = [plain_name(name) for name in note["path"]]
            return _Intent(os.path.join(os.path.dirname(place.parts), *names), Stamp(*map(int, note["stamp"])))
    except FileError:
        return None  # it was written in one step: it is somebody else's


def _path(place: RunPlace) -> str:
    return os.path.join(place.parts, _NAME)
