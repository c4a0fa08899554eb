"""The command line: one file a command."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of ``perun-like``."""
    from perun_like.launch.child import hold_standard_streams

    hold_standard_streams()
    import click

    from perun_like.cli.main import perun_like
    from perun_like.errors import PerunError

    try:
        perun_like.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(130)
    except PerunError as error:
        click.echo(f"perun-like: {error}", err=True)
        sys.exit(error.exit_code)
