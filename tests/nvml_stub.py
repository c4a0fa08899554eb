"""A driver's library for machines without a GPU, ``fixtures/nvml/stub.c``: its GPUs and their true energy."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

SOURCE = Path(__file__).with_name("fixtures") / "nvml" / "stub.c"
LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class StubGpu:
    """One GPU. Its power follows CLOCK_MONOTONIC: see the C source for ``wave`` and for what it can lack."""

    uuid: str
    model: str = "Stub V100"
    wave: str = "square"
    low_w: float = 60
    high_w: float = 400
    period_s: float = 2
    tick_s: float = 0.02
    start_j: float = 5e6
    limit_w: int = 400
    load: int = 73
    memory_b: int = 3 << 30
    capability: int = 70
    cores: int = 5120
    units: str = ""
    bus: str = ""
    lost_at_s: float = math.inf
    lacks: str = ""

    def truth_j(self, a_ns: int, b_ns: int) -> float:
        """What it really uses from a to b, CLOCK_MONOTONIC."""
        return self._since_zero_j(b_ns / 1e9) - self._since_zero_j(a_ns / 1e9)

    def _since_zero_j(self, t_s: float) -> float:
        periods, left_s = divmod(t_s, self.period_s)
        whole_j = periods * self.period_s * (self.low_w + self.high_w) / 2
        if self.wave == "ramp":
            return whole_j + left_s * self.low_w + (self.high_w - self.low_w) * left_s**2 / self.period_s / 2
        high_s = max(left_s - self.period_s / 2, 0)
        return whole_j + self.low_w * (left_s - high_s) + self.high_w * high_s


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")


def build(directory: Path) -> Path:
    """Compile the library into a directory."""
    target = directory / LIBRARY
    command = [compiler() or "cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run([*command, "-o", str(target), str(SOURCE), "-lm"], check=True)
    return directory


def configure(path: Path, gpus: Sequence[StubGpu], init: int = 0) -> dict[str, str]:
    """Write the GPUs for the library to read; returns the variable that names the file."""
    lines = [" ".join(f"{f.name}={str(getattr(gpu, f.name)).replace(' ', '_')}" for f in fields(gpu)) for gpu in gpus]
    path.write_text("\n".join([*lines, *([f"init={init}"] if init else [])]) + "\n")
    return {"NVML_STUB": str(path)}
