"""What a master file says of the files of its hosts: where each is, and what it was when the run was saved.

They lie in one directory beside it. A reference is the plain name of a file in there, and never leads out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, NamedTuple

from perun_like.errors import FileError
from perun_like.store.publish import Stamp, has_stamp

HOSTS_SUFFIX = ".hosts"
_DIRECTORY = "hosts_directory"


class Reference(NamedTuple):
    """A host file as a master refers to it."""

    path: str
    stamp: Stamp

    def check(self, master: str) -> None:
        """See that the file is there, and looks like the one that was there when the master was written.

        Raises:
            FileError: it doesn't; the message names it.
        """
        name = self.path
        try:
            # Not a link either: what it leads to was never written with this master.
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                raise FileError(f"{name}, of a host of {master}, is not a file: {_remedy(self.path, master)}")
            same = has_stamp(self.path, self.stamp)
        except OSError as error:
            reason = f"can't be read ({error.strerror})"
            raise FileError(f"{name}, of a host of {master}, {reason}: {_remedy(self.path, master)}") from None
        if not same:
            raise FileError(f"{name}, of a host of {master}, is not what it was: {_remedy(self.path, master)}")


def reference_facts(host: Mapping[str, Any], name: str, stamp: Stamp) -> dict[str, Any]:
    """What stands in a master in place of what a host recorded."""
    return {"host": dict(host), "file": {"name": name, "bytes": stamp.size_b, "crc32": f"{stamp.crc32:08x}"}}


def directory_facts(directory: str) -> dict[str, Any]:
    """How a master calls the directory of its host files."""
    return {_DIRECTORY: os.path.basename(directory)}


def references(path: str, facts: Mapping[str, Any]) -> list[Reference] | None:
    """The references of a master file; None if it holds everything itself.

    Args:
        path: The file.
        facts: What stands in its ``/recording``.

    Raises:
        LookupError, TypeError, ValueError: they aren't references.
    """
    if _DIRECTORY not in facts:
        return None
    directory = os.path.join(os.path.dirname(path), plain_name(facts[_DIRECTORY]))
    entries = [host["file"] for host in facts["hosts"]]
    names = [plain_name(entry["name"]) for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError("it refers to one file for several hosts")
    stamps = [Stamp(int(entry["bytes"]), int(entry["crc32"], 16)) for entry in entries]
    return [Reference(os.path.join(directory, name), stamp) for name, stamp in zip(names, stamps, strict=True)]


def plain_name(name: Any) -> str:
    """A name that can't lead out of a directory."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"it refers to {name!r}, which is not the name of a file beside it")
    return name


def _remedy(path: str, master: str) -> str:
    directory = os.path.dirname(path)
    return f"put the original back; {directory} belongs to {os.path.basename(master)} and goes where that goes"
