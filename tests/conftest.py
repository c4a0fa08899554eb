"""What all tests share: running the installed command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PERUN = str(Path(sys.executable).with_name("perun-like"))
PYTHON = Path(PERUN).read_text().splitlines()[0].removeprefix("#!")  # the interpreter that programs get by default

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def clean_environ() -> dict[str, str]:
    """The environment without settings of ours and without another active environment."""
    ours = ("PERUN_", "VIRTUAL_ENV", "CONDA_PREFIX")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


@pytest.fixture
def perun(tmp_path: Path, clean_environ: dict[str, str]) -> Run:
    """Run ``perun-like ARGS`` in an empty directory and return what it printed and how it ended."""

    def run(*args: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {"cwd": tmp_path, "env": clean_environ, "timeout": 60, "text": True}
        options |= {"capture_output": True} if "stdout" not in kwargs else {}
        return subprocess.run([PERUN, *args], check=False, **{**options, **kwargs})

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Write a Python script and return its name, relative to the directory the commands run in."""

    def write(source: str, name: str = "script.py") -> str:
        (tmp_path / name).write_text(source)
        return name

    return write
