"""A library that stands between processes and the kernel: clocks that are set, files that can't be locked or mapped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .fault import Unavailable
from .trial import Trial

_SOURCE = Path(__file__).with_suffix(".c")


def preload(trial: Trial, **variables: str) -> None:
    """Have the library in all processes of a command, and tell it what to do.

    Raises:
        Unavailable: it can't be built.
    """
    trial.environ |= {"LD_PRELOAD": str(_build(trial.directory)), **variables}


def _build(directory: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("a library has to be built for it, and there is no C compiler")
    path = directory / "preload.so"
    command = [compiler, "-shared", "-fPIC", "-o", path, _SOURCE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"the library for it can't be built: {done.stderr}")
    return path
