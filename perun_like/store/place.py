"""Where the results of a run go: ``<output>/<name>/<run id>.h5``, and until then ``<run id>.parts`` beside it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from perun_like.errors import InputError
from perun_like.sampling.local import remove_directory

PARTS_SUFFIX = ".parts"


def new_run_id() -> str:
    """An id that sorts by time and that no other run has."""
    return time.strftime("%Y-%m-%dT%H%M%S-") + os.urandom(2).hex()


@dataclass(frozen=True)
class RunPlace:
    """The place of one run.

    Attributes:
        path: The results file.
        parts: The directory of the parts while the run goes on.
    """

    path: str
    parts: str

    @classmethod
    def claim(cls, output: str, name: str, run_id: str) -> RunPlace:
        """Take the place before the application starts, so that no run ever touches another's results.

        Raises:
            InputError: another run has this id, or the directory can't be written.
        """
        directory = os.path.join(output, name)
        place = cls(os.path.join(directory, f"{run_id}.h5"), os.path.join(directory, run_id + PARTS_SUFFIX))
        try:
            os.makedirs(directory, exist_ok=True)
            os.mkdir(place.parts)  # atomic: of two runs with one id, one gets it
        except FileExistsError:
            raise InputError(_taken(run_id, place.parts)) from None
        except OSError as error:
            raise InputError(
                f"can't write results to {directory}: {error.strerror}; choose another directory with --output"
            ) from None
        if os.path.exists(place.path):
            os.rmdir(place.parts)
            raise InputError(_taken(run_id, place.path))
        return place

    @classmethod
    def of_parts(cls, parts: str) -> RunPlace:
        """The place whose parts are in a directory.

        Raises:
            InputError: this is not the directory of a run's parts.
        """
        if not parts.endswith(PARTS_SUFFIX) or not os.path.isdir(parts):
            raise InputError(f"{parts} is not the {PARTS_SUFFIX} directory of a run that was cut short")
        return cls(parts[: -len(PARTS_SUFFIX)] + ".h5", parts)

    def part(self, host: str) -> str:
        """The file of one host's part."""
        return os.path.join(self.parts, f"{host}.part")

    def release(self) -> None:
        """Remove the parts: they have become the results file, or nothing was recorded."""
        remove_directory(self.parts)


def _taken(run_id: str, path: str) -> str:
    hint = " (in progress, or cut short: perun-like recover)" if path.endswith(PARTS_SUFFIX) else ""
    return f"run id {run_id!r} is taken: {path} exists{hint}; leave out --run-id for a new id, or give another"
