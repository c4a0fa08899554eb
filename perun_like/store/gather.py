"""A run of many hosts from the files of its hosts: all in one file, or a master file that refers to them.

What the hosts' columns hold is never decoded, and never in memory but for what becomes one file.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from perun_like.errors import InputError, PerunError
from perun_like.model.node import DataNode
from perun_like.model.recording import Recording
from perun_like.store import schema
from perun_like.store.belongings import is_host_file
from perun_like.store.hdf5 import Image
from perun_like.store.publish import Stamp, sync_directory
from perun_like.store.reader import RunFile, open_run
from perun_like.store.references import HOSTS_SUFFIX, Reference, directory_facts, reference_facts
from perun_like.store.writer import facts_of, started

# What becomes one file: benchmarks/README.md has what that costs.
MOST_HOSTS = 64
MOST_BYTES = 32 << 20


class HostFile(NamedTuple):
    """A results file of a single host of a run.

    Attributes:
        name: Its name in the directory of all of them.
        stamp: What it was when it was written.
        host: The host's name and identity, which the master repeats.
    """

    name: str
    stamp: Stamp
    host: Mapping[str, Any]


def fit_in_one(files: Sequence[HostFile]) -> bool:
    """Whether host files are few and small enough to become one file."""
    return len(files) <= MOST_HOSTS and sum(file.stamp.size_b for file in files) <= MOST_BYTES


def one_file(whole: Recording, tree: DataNode, files: Sequence[HostFile], directory: str) -> bytes:
    """A run as the bytes of one HDF5 file.

    Args:
        whole: The run, without what its hosts recorded.
        tree: Its result.
        files: The host files.
        directory: Where they are.

    Raises:
        FileError: one of them is damaged or isn't there.
    """
    hosts: list[dict[str, Any]] = []
    columns = Image()
    for file in files:
        with open_run(os.path.join(directory, file.name)) as run:
            hosts += [_copied(run, host, columns, len(hosts) + n) for n, host in enumerate(run.facts()["hosts"])]
    return started(tree, {**facts_of(whole), "hosts": hosts}, image=columns).close()


def _copied(run: RunFile, host: dict[str, Any], image: Image, number: int) -> dict[str, Any]:
    """Copy what a host recorded; returns the facts about it, with the names that its groups have now."""
    tables = [*host["streams"], *filter(None, (host.get("regions"), host.get("rounds")))]
    if tables:
        own = _group_of(tables[0])
        run.copy(image, own, f"hosts/{number}")
    for table in tables:
        table["group"] = f"hosts/{number}/{table['group'].rpartition('/')[2]}"
    return host


def _group_of(table: Mapping[str, Any]) -> str:
    return str(table["group"]).rpartition("/")[0]


def hosts_directory(path: str) -> str:
    """Where the host files of a master file are."""
    return path.removesuffix(".h5") + HOSTS_SUFFIX


def master_file(path: str, whole: Recording, tree: DataNode, files: Sequence[HostFile]) -> bytes:
    """A run as the bytes of a master file, to be written once its host files are in their place.

    Args:
        path: The file to be.
        whole: The run, without what its hosts recorded.
        tree: Its result.
        files: The host files.
    """
    hosts = [reference_facts(file.host, file.name, file.stamp) for file in files]
    facts = {**facts_of(whole), **directory_facts(hosts_directory(path)), "hosts": hosts}
    return started(tree, facts, schema.MASTER_VERSION).close()


def give_back(target: str, source: str, files: Sequence[HostFile] = ()) -> None:
    """Bring what was moved along with host files back to where it was, never over anything else.

    Args:
        target: Where host files are now. Older ones than these in there are removed.
        source: Where they were.
        files: Those that stay.
    """
    with os.scandir(target) as entries:
        others = [entry for entry in entries if entry.name not in {file.name for file in files}]
    for entry in others:
        place = os.path.join(source, entry.name)
        with contextlib.suppress(OSError):
            if is_host_file(entry):
                os.unlink(entry.path)
            elif not os.path.lexists(place):
                os.makedirs(source, exist_ok=True)
                os.rename(entry.path, place)


def move_in(files: Sequence[HostFile], source: str, path: str) -> None:
    """Bring the host files to their place beside a master file to be, all at once, and see that all are there.

    Args:
        files: The host files.
        source: The directory where they are. Older ones in there are removed; what isn't a run's is there afterwards.
        path: The master file.

    Raises:
        InputError: that place is taken.
        FileError: one of the files isn't what it was.
        PerunError: they can't be moved.
    """
    target = hosts_directory(path)
    for file in files:
        Reference(os.path.join(source, file.name), file.stamp).check(path)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            message = f"{target} exists and is left as it is: give another --run-id, or move it away"
            raise InputError(message) from None
        raise PerunError(f"can't move {source} to {target}: {error.strerror}") from error
    give_back(target, source, files)
    sync_directory(os.path.dirname(target) or ".")
