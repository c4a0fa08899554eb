"""Runs that were cut short, wherever their parts are: in the directory of a run, among results, or copied together."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from perun_like.errors import InputError, PerunError, StillWrittenError
from perun_like.monitoring.host_files import is_being_written
from perun_like.monitoring.saving import recover
from perun_like.store.aside import copies
from perun_like.store.assembly import part_files
from perun_like.store.belongings import has_belongings
from perun_like.store.part import header
from perun_like.store.place import PARTS_SUFFIX
from perun_like.store.publish import give_name
from perun_like.store.reader import load
from perun_like.store.schema import plain

_PART_SUFFIX = ".part"
_DEEPEST = 3  # results are in <output>/<name>, and those of jobs in <output>


class Outcome(NamedTuple):
    """What became of one run.

    Attributes:
        parts: Where its parts were.
        files: The results files.
        error: Why there are none; None if there are some.
        left: What is in that directory still, as it isn't the run's.
        copies: Names of parts that were there twice and count once: each with the one that counts.
    """

    parts: str
    files: tuple[str, ...] = ()
    error: PerunError | None = None
    left: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether the run isn't to be recovered, as it goes on, or somebody else is at it."""
        return isinstance(self.error, StillWrittenError)


def recover_all(path: str) -> Iterator[Outcome]:
    """Recover what there is: one run after the other, each as far as it can be.

    Args:
        path: The ``.parts`` directory of a run; a directory in which there are some, or parts themselves; or a part.

    Raises:
        InputError: it is none of these.
    """
    path = plain_path(path)
    if not os.path.exists(path):
        yield _recovered_before(path)
    elif path.endswith(PARTS_SUFFIX) and os.path.isdir(path):
        yield _recovered(path)
    elif os.path.isdir(path):
        yield from _recovered_in(path)
    elif path.endswith(_PART_SUFFIX) and os.path.isfile(path):
        yield from _recovered_part(path)
    else:
        raise InputError(f"{path} is neither a {PARTS_SUFFIX} directory, nor one with some in it, nor a {_PART_SUFFIX}")


def plain_path(path: str) -> str:
    """What people mean by a path that they give: links in it are followed."""
    return os.path.realpath(path) if os.path.islink(path.rstrip(os.sep)) else os.path.normpath(path)


def _recovered_before(path: str) -> Outcome:
    """What was there has become a file already: to ask again does no harm."""
    file = _file_of(path)
    if path.endswith(PARTS_SUFFIX) and os.path.isfile(file):
        load(file)
        return Outcome(path, (file,))
    if path.endswith((PARTS_SUFFIX, _PART_SUFFIX)):
        place = os.path.dirname(path) or os.curdir
        raise InputError(f"there is no {path}: if it was recovered before, its results are in {place}")
    raise InputError(f"there is no {path}: give a directory of results, or what a run has left, *{PARTS_SUFFIX}")


def _recovered(parts: str) -> Outcome:
    try:
        if os.path.isfile(_file_of(parts)) and not has_belongings(parts):
            return _recovered_before(parts)
        twice = tuple((os.path.basename(one), os.path.basename(of)) for one, of in copies(part_files(parts)).items())
        return Outcome(parts, tuple(file for _, file in recover(parts)), left=_left(parts), copies=twice)
    except (PerunError, OSError) as error:
        return Outcome(parts, (), _told(error))


def _file_of(parts: str) -> str:
    return parts.removesuffix(PARTS_SUFFIX) + ".h5"


def _left(parts: str) -> tuple[str, ...]:
    with suppress(FileNotFoundError):  # most often all of it was the run's
        return tuple(sorted(os.listdir(parts)))
    return ()


def _is_a_runs(parts: str) -> bool:
    """Whether there is anything of a run in a directory, or that can't be seen: then it is told when it is tried."""
    try:
        return has_belongings(parts)
    except OSError:
        return True


def _recovered_in(directory: str) -> Iterator[Outcome]:
    loose = part_files(directory)
    found = [parts for parts in _parts_below(directory, _DEEPEST) if _is_a_runs(parts)]  # before new ones are made
    yield from _gathered(loose, directory)
    for parts in found:
        yield _recovered(parts)


def _recovered_part(path: str) -> Iterator[Outcome]:
    directory = os.path.dirname(path)
    if directory.endswith(PARTS_SUFFIX):
        yield _recovered(directory)
    else:
        yield from _gathered([path], directory)


def _parts_below(directory: str, depth: int) -> Iterator[str]:
    """Directories of runs, in order; links are not followed."""
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in names:
        path = os.path.join(directory, name)
        if name.endswith(PARTS_SUFFIX):
            yield path
        elif depth > 1 and os.access(path, os.R_OK | os.X_OK):
            yield from _parts_below(path, depth - 1)


def _gathered(paths: list[str], directory: str) -> Iterator[Outcome]:
    """Parts that lie about: those of a run are brought together in a directory of its own, and then it is recovered."""
    moved = [_moved(path, directory) for path in paths]
    yield from (outcome for outcome in moved if isinstance(outcome, Outcome))
    for parts in dict.fromkeys(parts for parts in moved if isinstance(parts, str)):
        yield _recovered(parts)


def _moved(path: str, directory: str) -> str | Outcome:
    """The directory that a part is in now, or why it isn't in one."""
    try:
        if is_being_written(path):
            raise StillWrittenError(f"{path} is still being written: wait until its program has ended")
        parts = os.path.join(directory, _run_of(path) + PARTS_SUFFIX)
        os.makedirs(parts, exist_ok=True)
        _move(path, os.path.join(parts, os.path.basename(path)))
    except (PerunError, OSError) as error:
        return Outcome(path, (), _told(error))
    return parts


def _move(path: str, new: str) -> None:
    """Move a part, never over another one.

    Raises:
        InputError: there is one of that name.
        OSError: it can't be moved.
    """
    try:
        give_name(path, new)
    except FileExistsError:
        if not os.path.samefile(path, new):  # who moved it was killed before it had lost its old name
            raise InputError(f"{path} is left as it is, as there is another {new}: give it another name") from None
    with suppress(FileNotFoundError):
        os.unlink(path)


def _told(error: PerunError | OSError) -> PerunError:
    return error if isinstance(error, PerunError) else PerunError(f"{error.filename}: {error.strerror}")


def _run_of(path: str) -> str:
    """What tells the run of a part from others, whoever copied it where."""
    run = header(path)["run"]
    if run["job"] or run["run_id"]:
        return plain(run["job"] or run["run_id"])
    return f"job-{zlib.crc32(run['name'].encode(errors='surrogatepass')):08x}"
