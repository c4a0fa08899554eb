"""Limits that are reached: descriptors, processes, memory, file sizes."""

from __future__ import annotations

from collections.abc import Callable

from .fault import Fault
from .groups import limited
from .trial import Trial


def limit(option: str, least: int, most: int) -> Callable[[Trial], None]:
    """``ulimit`` with a random figure."""
    return lambda trial: trial.in_shell(f"ulimit {option} {trial.random.randint(least, most)}")


def few_processes(trial: Trial) -> None:
    """A control group in which only so many processes and threads may live: the program and we at least."""
    limited(trial, {"pids.max": trial.random.randint(2, 12)})


FAULTS = [
    Fault("few descriptors", setup=limit("-n", 10, 40), samples=False),
    Fault("few processes", setup=few_processes, samples=False, apart=True),
    Fault("little address space", setup=limit("-v", 100_000, 900_000), samples=False),
    Fault("small files only", setup=limit("-f", 0, 200), samples=False),
    Fault("small stack", setup=limit("-s", 256, 1024)),
]
