"""Places that are full, gone, or can't be written to any more."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from . import mounts
from .fault import Fault, Unavailable, harmless
from .preload import preload
from .trial import OURS, Trial

SHM = Path("/dev/shm")


def mount(trial: Trial, directory: Path, source: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount something in a trial's directory, or once more on a worker's own memory, until the trial is over."""
    harmless(trial.apart, f"{directory} would be mounted on for all who see it")
    directory.mkdir(exist_ok=True)
    try:
        mounts.mount(source, str(directory), kind, flags, options)
    except OSError as error:
        raise Unavailable(f"nothing can be mounted here: {error}") from error
    trial.stack.callback(unmount, directory)


def unmount(directory: Path) -> None:
    """Take away what was mounted last on a directory, if anything is."""
    with suppress(OSError):
        mounts.unmount(str(directory))


def fill(directory: Path, leave_b: int = 0) -> Path:
    """Use up a small file system but for some bytes; returns the file that does."""
    filler = directory / "filler"
    status = os.statvfs(directory)
    harmless(status.f_blocks * status.f_frsize <= 8 << 20, f"{directory} is on a file system of somebody's")
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    os.truncate(filler, max(0, filler.stat().st_size - leave_b))
    return filler


def small_disk(trial: Trial) -> None:
    """Results go to a file system of one megabyte."""
    mount(trial, trial.results, "tmpfs", "tmpfs", options="size=1m")


def disk_fills(trial: Trial) -> None:
    """Somebody writes until nothing more fits; later there is room again."""
    trial.moment()
    filler = fill(trial.results)
    trial.afterwards.append(filler.unlink)


def full_disk(trial: Trial) -> None:
    """The disk is full from the start."""
    small_disk(trial)
    trial.afterwards.append(fill(trial.results, trial.random.randrange(0, 20_000)).unlink)


def full_memory(trial: Trial) -> None:
    """The host's memory for files has no room, or only some."""
    mount(trial, SHM, "tmpfs", "tmpfs", options="size=4m,mode=1777")
    fill(SHM, trial.random.choice([0, 0, 1 << 14, 1 << 16, 1 << 18, 1 << 21]))


def removed(trial: Trial) -> None:
    """The directory of results is removed with all that is in it."""
    trial.moment()
    trial.remove(trial.results)


def moved(trial: Trial) -> None:
    """The directory of results gets another name."""
    trial.moment()
    if not trial.bare:
        trial.results.rename(trial.directory / "elsewhere")


def read_only(trial: Trial) -> None:
    """Nothing can be written to the directory of results any more."""
    trial.results.mkdir(exist_ok=True)
    trial.moment()
    mount(trial, trial.results, str(trial.results), flags=mounts.BIND)
    mounts.protect([str(trial.results)])
    trial.afterwards.append(lambda: unmount(trial.results))


def memory_removed(trial: Trial) -> None:
    """Everything of ours in the host's memory is removed."""
    trial.moment()
    for path in list(Path(OURS).iterdir()) if not trial.bare else ():
        trial.remove(path)


def without_locks(trial: Trial) -> None:
    """Results go to a file system that has no locks."""
    preload(trial, FAULT_NO_LOCKS=str(trial.results))


def without_mapping(trial: Trial) -> None:
    """No file of a place can be mapped: of where results go, or of the host's memory."""
    preload(trial, FAULT_NO_MAPPING=str(trial.results))


def without_mapping_memory(trial: Trial) -> None:
    """No file in the host's memory can be mapped."""
    preload(trial, FAULT_NO_MAPPING=str(SHM))


FAULTS = [
    Fault("disk full from the start", setup=full_disk, samples=False, apart=True),
    Fault("disk fills up", disk_fills, setup=small_disk, apart=True),
    Fault("/dev/shm full", setup=full_memory, apart=True),
    Fault("output directory removed", removed, apart=True),
    Fault("output directory moved away", moved, apart=True),
    Fault("output directory made read-only", read_only, apart=True),
    Fault("host-local files removed", memory_removed, apart=True),
    Fault("output without file locks", setup=without_locks),
    Fault("output that can't be mapped", setup=without_mapping),
    Fault("/dev/shm can't be mapped", setup=without_mapping_memory, samples=False),
]
