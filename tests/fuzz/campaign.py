"""Many hostile files, and what came of them."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Verbosity, given, seed, settings
from hypothesis import strategies as st

from .parts import part_files
from .pool import Reader
from .results import good_files, results_files

_QUIET = Verbosity.quiet  # files are no reading matter
ALLOWED = ("read", "refused")


def try_parts(directory: Path, count: int, number: int) -> Counter[str]:
    """Try so many parts.

    Args:
        directory: An empty one.
        count: How many.
        number: What makes them other ones.

    Returns:
        How many were read, how many refused.

    Raises:
        AssertionError: one of them did harm; the smallest such is told.
    """

    def put(content: bytes) -> Path:
        shutil.rmtree(directory / "results", ignore_errors=True)
        part = directory / "results/heat/x.parts/node.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(content)
        return part.parent

    return _try("part", part_files(directory), put, count, number)


def try_results(directory: Path, count: int, number: int) -> Counter[str]:
    """The same of results files."""
    path = directory / "x.h5"

    def put(content: bytes) -> Path:
        path.write_bytes(content)
        return path

    return _try("results", results_files(good_files(directory)), put, count, number)


def _kept(kind: str, content: bytes) -> str:
    """Where a file is kept that does harm."""
    path = os.path.join(tempfile.gettempdir(), f"perun-fuzz-{kind}-{zlib.crc32(content):08x}")
    Path(path).write_bytes(content)
    return path


def _try(
    kind: str, files: st.SearchStrategy[bytes], put: Callable[[bytes], Path], count: int, number: int
) -> Counter[str]:
    reader, outcomes = Reader(), Counter[str]()

    @seed(number)
    @settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck), verbosity=_QUIET
    )
    @given(content=files)
    def attempt(content: bytes) -> None:
        outcome = reader.read(kind, str(put(content)))
        outcomes[outcome.partition(":")[0]] += 1
        assert outcome in ALLOWED, f"{outcome}; the file is kept as {_kept(kind, content)}"

    try:
        attempt()
    finally:
        reader.close()
    return outcomes
