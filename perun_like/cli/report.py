"""``perun-like report RUN``: the report of a results file, again."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from perun_like.model.node import DataNode


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", metavar="RUN", type=click.Path())
@click.option("--colour/--no-colour", default=None, help="Colour or not.  [default: on a terminal]")
def report(run: str, colour: bool | None) -> None:
    """Print the report of RUN, a results file (.h5), as it was printed at the end of that run.

    Of a damaged file too, if its result is unharmed; it is then told what isn't, and the exit code is 1.
    """
    from perun_like.errors import FileError
    from perun_like.store.reader import load, salvaged

    try:
        tree, damage = load(run), None
    except FileError as error:
        found = salvaged(run) if os.path.isfile(run) else None
        if found is None:
            raise
        tree, damage = found, error
    sys.stdout.write(_text(tree, run, colour))
    if damage is not None:
        sys.stdout.flush()
        raise damage


def _text(tree: DataNode, run: str, colour: bool | None) -> str:
    from perun_like.report.terminal import text_for
    from perun_like.store.trust import telling_damage

    with telling_damage(run):  # what a file calls a result needn't be one that can be shown
        return text_for(sys.stdout, tree, path=run, colour=colour)
