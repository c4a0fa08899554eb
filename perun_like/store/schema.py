"""Names, version and limits of the results file. ``docs/file_format.md`` describes it for people.

The version is increased when an older reader would misunderstand a file; a reader reads its own and all older
versions. What an older reader may simply ignore (a new attribute, column or JSON key) doesn't increase it. A file says
the oldest version that a reader must know: only one that refers to others says 2.
"""

from __future__ import annotations

import re

SCHEMA = "perun-like"
VERSION = 1
MASTER_VERSION = NEWEST_VERSION = 2

# Attributes of the file.
SCHEMA_ATTRIBUTE = "schema"
VERSION_ATTRIBUTE = "schema_version"
SOFTWARE_ATTRIBUTE = "software_version"

# Datasets that hold JSON.
TREE = "tree"
RECORDING = "recording"

# Columns of a stream, beside one for each sensor …
T0 = "t0_ns"
READ = "read_ns"
VALID_SUFFIX = ".valid"
# … and of a host's calls of regions.
REGIONS = "regions"
CALL_COLUMNS = ("process", "region", "thread", "start_ns", "duration_ns", "resumed")
# Of what a host measured in place: a row an interval, and in a group of their own a row a round.
ROUNDS = "rounds"
EACH_ROUND = "each"
INTERVAL_COLUMNS = ("process", "round", "start_ns", "duration_ns")
ROUND_COLUMNS = ("cpu_ns", "peak_before_b", "peak_after_b", "failed")

# Attributes that say how a column is restored; one without FIRST holds its values as they are.
FIRST = "first"
STEP = "step"
MODULUS = "modulus"
UNIT_NJ = "unit_nj"

PLAIN_ROWS = 4096  # shorter columns are not worth an encoding: 32 KiB, and people read them as they are
PLAIN_BYTES = 1 << 16  # the same for text
CHUNK_ROWS = 1 << 16

_SEAL = b"perun-like crc32 "
_UNSAFE = re.compile(r"[^A-Za-z0-9_+-]+")
_LONGEST_NAME = 60


class Names:
    """Names of datasets and groups made of names of things: plain characters, not too long, each given once."""

    def __init__(self, *reserved: str) -> None:
        self._given = set(reserved)

    def give(self, text: str) -> str:
        """A name for something that is called ``text``, which may be anything."""
        name = first = plain(text)
        number = 1
        while name in self._given:
            number += 1
            name = f"{first}-{number}"
        self._given.add(name)
        return name


def plain(text: str) -> str:
    """A name made of any text: plain characters, not too long."""
    return _UNSAFE.sub("_", text)[:_LONGEST_NAME] or "_"


def is_seal(end: bytes) -> bool:
    """Whether a file's last bytes are a seal."""
    return len(end) == SEAL_BYTES and end.startswith(_SEAL)


def seal(checksum: int) -> bytes:
    """The last bytes of a file: a checksum (CRC-32) of all bytes before.

    HDF5 doesn't look at what follows its own end of the file, and drops it when it changes the file.
    """
    return _SEAL + b"%08x\n" % checksum


SEAL_BYTES = len(seal(0))
