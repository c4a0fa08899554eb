"""The command line: one file a command."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from perun_like.sampling.process import SamplerProcess


_OF_LAUNCHERS = (
    *("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_STEP_NUM_TASKS", "PALS_RANKID"),
    *("TORCHELASTIC_RUN_ID", "PERUN_RANK"),
)


def main() -> None:
    """Entry point of ``perun-like``."""
    gc.disable()  # a command ends before its garbage matters; collecting would add 6 ms to its imports
    hold_standard_streams()
    sampler = None
    try:
        sampler = _early_sampler()
        sys.exit(_run(sampler))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if sampler is not None:
            sampler.release()


def _run(sampler: SamplerProcess | None) -> int:
    """Do what the command line says; the exit code."""
    from perun_like.errors import PerunError

    try:
        return _profiled(sampler) if sys.argv[1:2] == ["profile"] else _parsed(sampler)
    except PerunError as error:
        complain(error)
        return error.exit_code
    except OSError as error:  # a directory is gone or, where no file is named, standard output is full
        complain(error if error.filename is not None else OSError(f"can't write the output: {error.strerror}"))
        return 1


def _profiled(sampler: SamplerProcess | None) -> int:
    """Run a program without having click loaded, if the command line is plain."""
    from perun_like.cli import run

    found = run.plain(sys.argv[2:])
    if found is not None:
        options, program = found
        run.run(program, options, sampler)
    return _parsed(sampler)


def _parsed(sampler: SamplerProcess | None) -> int:
    """Do what click makes of the command line."""
    import click

    from perun_like.cli.group import perun_like

    try:
        perun_like.main(standalone_mode=False, obj=sampler)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    return 0


def complain(error: Exception) -> None:
    """Say what went wrong, if there is anyone who listens: of the ranks of a host that have it all, one does."""
    if _may_be_a_rank() and not _is_first_to_say(f"{error}"):
        return
    try:
        sys.stderr.write(f"perun-like: {error}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _may_be_a_rank() -> bool:
    return any(name in os.environ for name in _OF_LAUNCHERS)


def _is_first_to_say(text: str) -> bool:
    from perun_like.errors import InputError
    from perun_like.launch.launchers import detect
    from perun_like.monitoring.shared import is_first_to_say

    try:
        return is_first_to_say(detect(os.environ), text)
    except InputError:  # which rank this is is the very question
        return True


def _early_sampler() -> SamplerProcess | None:
    """For ``profile``, a sampling process that starts while we still import what the command line needs.

    Both take some 40 ms, and the application's first line waits for both.
    """
    if sys.argv[1:2] != ["profile"] or len(sys.argv) < 3 or _may_be_a_rank():
        return None  # of several ranks on a host one has a sampler, and which isn't known yet
    from perun_like.sampling.spawn import spawn

    try:
        spawned = spawn(os.environ)
    except OSError:
        return None  # the monitor tries again, and tells
    from perun_like.sampling.process import SamplerProcess  # 10 ms, in which it starts

    return SamplerProcess(os.environ, spawned=spawned)


def hold_standard_streams() -> None:
    """Keep descriptors 0 to 2 from being taken by our own files when we were started with some of them closed.

    What fills them is closed on exec, so that the application finds them closed as it would have.
    """
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) < 3:
        pass  # the lowest free descriptor is what open returns: it has filled a gap
    os.close(fd)
