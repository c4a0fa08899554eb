"""What all tests share: running the installed command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nvml_stub
import pytest

PERUN = str(Path(sys.executable).with_name("perun-like"))
PYTHON = Path(PERUN).read_text().splitlines()[0].removeprefix("#!")  # the interpreter that programs get by default

TREES = Path(__file__).with_name("fixtures") / "trees"

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


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variable by which processes find a library that plays an NVIDIA driver: see ``nvml_stub``."""
    if nvml_stub.compiler() is None:
        pytest.skip("the library that plays an NVIDIA driver needs a C compiler, and there is none")
    return {"LD_LIBRARY_PATH": str(nvml_stub.build(tmp_path_factory.mktemp("nvml")))}


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Write a Python script and return its name, relative to the directory the commands run in."""

    def write(source: str, name: str = "script.py") -> str:
        (tmp_path / name).write_text(source)
        return name

    return write


@pytest.fixture
def plant(tmp_path: Path) -> Callable[[str], Path]:
    """Write a machine of ``tests/fixtures/trees`` as files and return the directory with its proc and sys."""

    def write(name: str) -> Path:
        root = folder = tmp_path / name
        for line in (TREES / f"{name}.tree").read_text().splitlines():
            if line.startswith("["):
                folder = root / line.strip("[]")
            elif line and not line.startswith("#"):
                plant_one(folder, line)
        return root

    return write


def plant_one(folder: Path, line: str) -> None:
    """One line of a tree: a file with its text, a link, or an empty directory."""
    path, link, target = line.partition(" -> ")
    name, _, text = line.partition(": ")
    place = folder / (path if link else name)
    (place if line.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
    if link:
        place.symlink_to(target)
    elif not line.endswith("/"):
        place.write_text(text.replace("\\n", "\n").replace("\\t", "\t"))
