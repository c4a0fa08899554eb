"""``perun-like recover``: make the results file of a run that was cut short."""

from __future__ import annotations

import sys

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, metavar="DIR|PART...")
def recover(paths: tuple[str, ...]) -> None:
    """Make the results files of runs that were cut short.

    A run whose profiler was killed leaves a directory RUN.parts; everything that was sampled until then is in it. So
    does a job that failed, job-….parts. Give such a directory, or one in which there are some, as perun_results: runs
    that still go on are left alone. Parts of a run's hosts may also be copied into one directory, or given themselves.

    Each results file is told on standard output. It may be interrupted, and done again.
    """
    sys.exit(max(map(_recover, paths)))


def _recover(path: str) -> int:
    """Recover what is at a path and tell what became of it; the exit code."""
    from perun_like.cli import complain
    from perun_like.errors import PerunError
    from perun_like.monitoring.room import check_room

    codes: list[int] = []
    try:
        check_room()
        from perun_like.monitoring.recovery import plain_path, recover_all

        for outcome in recover_all(path):
            for file in outcome.files:
                click.echo(file)
            if outcome.error is not None:
                complain(outcome.error)
            for copy, of in outcome.copies:
                told = f"two copies of one part in {outcome.parts}: {copy} and {of}; only {of} counts"
                click.echo(f"perun-like: {told}", err=True)
            if outcome.left:
                click.echo(
                    f"perun-like: left in {outcome.parts}, as no run made it: {', '.join(outcome.left)}", err=True
                )
            # Among others, a run that goes on is left alone, as was to be expected.
            asked_for = outcome.parts == plain_path(path)
            codes.append(outcome.error.exit_code if outcome.error and (asked_for or not outcome.goes_on) else 0)
    except PerunError as error:
        complain(error)
        return error.exit_code
    if not codes:
        click.echo(f"perun-like: nothing in {path} was cut short", err=True)
    return max(codes, default=0)
