"""``perun-like report RUN``: the report of a results file, again."""

from __future__ import annotations

import sys

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", metavar="RUN", type=click.Path())
@click.option("--colour/--no-colour", default=None, help="Colour or not.  [default: on a terminal]")
def report(run: str, colour: bool | None) -> None:
    """Print the report of RUN, a results file (.h5), as it was printed at the end of that run."""
    from perun_like.report.terminal import text_for
    from perun_like.store.reader import load
    from perun_like.store.trust import telling_damage

    with telling_damage(run):  # what a file calls a result needn't be one that can be shown
        text = text_for(sys.stdout, load(run), path=run, colour=colour)
    sys.stdout.write(text)
