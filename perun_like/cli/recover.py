"""``perun-like recover``: make the results file of a run that was cut short."""

from __future__ import annotations

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", nargs=-1, required=True, metavar="DIR.parts...")
def recover(parts: tuple[str, ...]) -> None:
    """Make the results file of runs that were cut short.

    A run whose profiler was killed leaves a directory RUN.parts; everything that was sampled until then is in it. So
    does a job that failed, job-….parts: of its hosts, one after the other is put together. It may be interrupted, and
    done again.
    """
    from perun_like.monitoring.saving import recover as recover_run

    for directory in parts:
        for _, path in recover_run(directory):
            click.echo(path)
