"""What `import perun_like` costs, and what it does not bring with it.

    python benchmarks/imports.py

Each row is a whole interpreter, started and ended; what is told is how much longer it takes than one that does nothing.
The floor is that interpreter. Peers are in the table if their environments have been made: see peers.py.
"""

from __future__ import annotations

import subprocess
import time

import peers
from harness import PYTHON, begin, interleaved, spread

HEAVY = ("numpy", "h5py", "psutil", "pynvml", "mpi4py", "click", "rich")
OURS = {
    "import perun_like": "import perun_like",
    "from perun_like import region": "from perun_like import region",
    "from perun_like import profile": "from perun_like import profile",
    "perun_like.cli.main": "from perun_like.cli import main",
}
PEERS = {
    "perun": "import perun",
    "codecarbon": "import codecarbon",
    "pyRAPL": "import pyRAPL",
    "zeus": "from zeus.monitor import ZeusMonitor",
}


def wall_ms(python: str, code: str) -> float:
    """Time from start to end of an interpreter that runs some code."""
    start = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def heavy(code: str) -> list[str]:
    """Which of the heavy packages some code has imported."""
    test = f"{code}\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return subprocess.run([PYTHON, "-c", test], check=True, capture_output=True, text=True).stdout.split()


def main() -> None:
    """Measure and print a table."""
    report, given = begin(__doc__, rounds=(21, 3, "interleaved starts of each"))
    codes = {name: (PYTHON, code) for name, code in OURS.items()}
    if not given.quick:
        codes |= {f"import {name}": (python, PEERS[name]) for name, python in peers.made().items() if name in PEERS}
    measures = {"nothing": lambda: wall_ms(PYTHON, "pass")}
    for name, (python, code) in codes.items():
        measures[name] = lambda python=python, code=code: wall_ms(python, code)  # type: ignore[misc]
    times = interleaved(measures, given.rounds)
    rows = []
    for name, values in times.items():
        added = spread([ms - floor for ms, floor in zip(values, times["nothing"], strict=True)])
        brought = ", ".join(heavy(codes[name][1])) or "-" if name in OURS else ""
        ratio = spread(values).median / spread(times["nothing"]).median
        rows.append(
            (
                name,
                f"{spread(values).median:.1f}",
                f"{added.median:.1f}",
                f"{added.low:.1f} to {added.high:.1f}",
                f"{ratio:.2f}",
                brought,
            )
        )
        if name == "import perun_like":
            report.target("import perun_like", added.median, "ms", at_most=20)
            report.target("heavy packages that it brings", float(len(heavy(OURS[name]))), "", at_most=0)
            report.target("import perun_like to an interpreter that does nothing", ratio, "x", at_most=3)
    report.table(
        f"{given.rounds} interleaved starts", ["", "ms", "added", "95 % interval", "to nothing", "brings"], rows
    )
    report.close(given.json)


if __name__ == "__main__":
    main()
