"""A few of the files that ``python tests/fuzz`` makes many of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from .campaign import try_parts, try_results

Attempt = Callable[[Path, int, int], "Counter[str]"]


@pytest.mark.parametrize("attempt", [try_parts, try_results])
def test_files_made_to_harm_are_read_or_refused(tmp_path: Path, attempt: Attempt) -> None:
    """None hangs, kills or fills the memory of who reads it, or raises anything but an error that names it."""
    outcomes = attempt(tmp_path, 150, 1)
    assert outcomes["read"] >= 5
    assert outcomes["refused"] >= 5
