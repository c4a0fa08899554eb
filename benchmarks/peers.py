"""Other tools for energy, each in an environment of its own, on the same simulated machine.

    python benchmarks/peers.py        makes the environments: about 1 GB in ~/.cache/perun_like_benchmarks

They have the path /sys/class/powercap built in, so they are run where the simulated tree is mounted there, which only
they see. A tool that can't be installed or run is left out, with its reason.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

from harness import TESTS, clean_environ

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "perun_like_benchmarks")
PACKAGES = {"perun": "perun==1.0.0", "codecarbon": "codecarbon", "pyRAPL": "pyRAPL", "zeus": "zeus"}
_TIMEOUT_S = 120

# Each measures a block of a given length and says when that was. What perun and codecarbon found is in their files.
_BLOCK = "a = time.monotonic_ns(); time.sleep(float(sys.argv[1])); b = time.monotonic_ns()\n"
SCRIPTS = {
    "perun": "import sys, time\n" + _BLOCK + "print(a, b)\n",
    "codecarbon": (
        "import sys, time\nfrom codecarbon import OfflineEmissionsTracker\n"
        "tracker = OfflineEmissionsTracker(country_iso_code='DEU', log_level='error', allow_multiple_runs=True)\n"
        "tracker.start()\n" + _BLOCK + "tracker.stop()\nprint(a, b)\n"
    ),
    "pyRAPL": (
        "import sys, time\nimport pyRAPL\npyRAPL.setup()\nmeter = pyRAPL.Measurement('block')\nmeter.begin()\n"
        + _BLOCK
        + "meter.end()\nprint(a, b, *(pkg / 1e6 for pkg in meter.result.pkg or ()))\n"
    ),
    "zeus": (
        "import sys, time\nfrom zeus.monitor import ZeusMonitor\nif __name__ == '__main__':\n"
        "    monitor = ZeusMonitor(gpu_indices=[])\n    monitor.begin_window('block')\n"
        "    " + _BLOCK + "    found = monitor.end_window('block')\n    print(a, b, sum(found.cpu_energy.values()))\n"
    ),
}


class Block(NamedTuple):
    """What a tool said that a block used, in joules, and when the block was; CLOCK_MONOTONIC."""

    energy_j: float | None
    start_ns: int
    stop_ns: int


def python_of(name: str) -> str:
    """The interpreter of a tool's environment."""
    return os.path.join(CACHE, name, "bin", "python")


def made() -> dict[str, str]:
    """Tools whose environments are there, with their interpreters."""
    return {name: python_of(name) for name in PACKAGES if os.path.exists(os.path.join(CACHE, name, "complete"))}


def make() -> dict[str, str]:
    """Make the environments that aren't there; returns why some can't be had, by name."""
    failed: dict[str, str] = {}
    for name, package in PACKAGES.items():
        if name in made():
            continue
        directory = os.path.join(CACHE, name)
        try:
            _run([sys.executable, "-m", "venv", "--clear", directory], 600)
            _run([python_of(name), "-m", "pip", "install", "--quiet", package], 600)
            with open(os.path.join(directory, "complete"), "w") as file:
                file.write(package)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            failed[name] = said[-1] if said else "it failed without a word"
    return failed


def version(name: str) -> str:
    """The version of a tool."""
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return _run([python_of(name), "-c", code], 60).stdout.strip()


def can_hide_sysfs() -> bool:
    """Whether a process can be given another /sys/class/powercap."""
    try:
        _run(["unshare", "--mount", "--propagation", "private", "true"], 10)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def measure(name: str, powercap_root: str, seconds: float) -> Block:
    """Have a tool measure a block of so many seconds on a simulated machine.

    Raises:
        OSError: it can't be run.
        SubprocessError: it failed.
        ValueError: what it said can't be understood.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "block.py")
        with open(path, "w") as file:
            file.write(SCRIPTS[name])
        command = [python_of(name), path, str(seconds)]
        if name == "perun":
            perun = os.path.join(CACHE, name, "bin", "perun")
            command = [perun, "monitor", "--format", "json", path, str(seconds)]
        said = _on_machine(command, directory, powercap_root)
        start_ns, stop_ns, *energies = next(line.split() for line in said.splitlines() if line[:1].isdigit())
        energy_j = sum(map(float, energies)) if energies else _from_files(name, directory)
        return Block(energy_j, int(start_ns), int(stop_ns))


def _from_files(name: str, directory: str) -> float | None:
    if name == "perun":
        with open(os.path.join(directory, "perun_results", "block.json")) as file:
            return float(json.load(file)["metrics"]["cpu_energy"]["sum"])
    if name == "codecarbon":
        with open(os.path.join(directory, "emissions.csv")) as file:
            (row,) = csv.DictReader(io.StringIO(file.read()))
            return float(row["cpu_energy"]) * 3.6e6
    return None


def _on_machine(command: list[str], directory: str, powercap_root: str) -> str:
    """Run a command where a simulated tree is at /sys/class/powercap; what it printed."""
    setup = os.path.join(TESTS, "mpi", "fake_powercap.sh")
    parent, own = os.path.split(powercap_root)
    environ = {**clean_environ(), "FAKE_POWERCAP": parent, "FAKE_HOST": own}
    shell = ["sh", "-ec", f'. "{setup}"; exec "$@"', "sh", *command]
    return _run(["unshare", "--mount", "--propagation", "private", *shell], _TIMEOUT_S, directory, environ).stdout


def _run(
    command: list[str], timeout_s: float, directory: str | None = None, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env=environ, timeout=timeout_s, check=True, capture_output=True, text=True
    )


if __name__ == "__main__":
    for name, reason in make().items():
        print(f"{name} is left out: {reason}")
    for name in made():
        print(f"{name} {version(name)}: {python_of(name)}")
