"""``perun-like export``: a run's figures for other programs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from perun_like.errors import InputError

if TYPE_CHECKING:
    from perun_like.store.reader import RunFile

_BROKEN_PIPE = 128 + 13  # what a shell says of a program that SIGPIPE has ended


@click.command()
@click.argument("run", metavar="RUN", type=click.Path())
@click.argument("form", metavar="json|csv", type=click.Choice(["json", "csv"]))
@click.option("--output", metavar="FILE", default="-", help="Where to write it.  [default: standard output]")
def export(run: str, form: str, output: str) -> None:
    """Write RUN, a results file (.h5), for other programs.

    json: the result, every figure with its bounds. csv: what the sensors showed, one row a sweep and one column a
    sensor, in SI units.
    """
    from perun_like.report.output import open_output
    from perun_like.store.reader import open_run
    from perun_like.store.trust import telling_damage

    with open_run(run) as file:
        if os.path.exists(output) and os.path.samefile(run, output):
            raise InputError(f"{output} is the run itself: give another file to --output")
        try:
            with open_output(output) as stream, telling_damage(run, besides=OSError):
                _write(file, form, stream)
        except BrokenPipeError:  # as with ``| head``: who read has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_BROKEN_PIPE)
        except OSError as error:
            raise InputError(f"can't write {output}: {error.strerror}; choose another file with --output") from error


def _write(run: RunFile, form: str, stream: BinaryIO) -> None:
    if form == "json":
        from perun_like.report.json import dumps

        stream.write(dumps(run.tree()).encode("ascii") + b"\n")
    else:
        from perun_like.report.csv import write_table

        write_table(run, stream)
