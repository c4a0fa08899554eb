"""``perun-like profile``: run a program, measure it, show the report, end as the program ended."""

from __future__ import annotations

from typing import Any

import click

from perun_like.cli.run import Program, run, split_program
from perun_like.config import OPTIONS

_PROGRAM = f"{__name__}.program"
_NO_PROGRAM = "what shall be profiled? Give a SCRIPT, -m MODULE, or -- EXECUTABLE"


class ProfileCommand(click.Command):
    """A command whose options end where the program begins, as ``python``'s do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the program off; the rest are our options."""
        valued = {name for param in self.params if not getattr(param, "is_flag", False) for name in param.opts}
        ours, ctx.meta[_PROGRAM] = split_program(args, valued)
        return super().parse_args(ctx, ours)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """What the usage line says after the options."""
        return [*super().collect_usage_pieces(ctx), "(SCRIPT | -m MODULE | -- EXECUTABLE) [ARGS]..."]


def _options(command: click.Command) -> click.Command:
    """Give a command the options that the configuration declares."""
    for option in OPTIONS:
        command.params.append(
            click.Option(
                [f"{option.opposite}/{option.flag}" if option.is_flag else option.flag, option.field],
                help=option.help,
                metavar=option.metavar or None,
                multiple=option.multiple,
                default=None,
            )
        )
    return command


@click.command(cls=ProfileCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def profile(ctx: click.Context, /, **options: Any) -> None:
    """Run a program and tell what it used.

    The program has the same output, exit code and nearly the same time as without; the report goes to stderr, the
    data to DIR/NAME/ID.h5. Every option can also be set in perun.toml or as PERUN_... in the environment.
    """
    program: Program | None = ctx.meta[_PROGRAM]
    if program is None:
        raise click.UsageError(_NO_PROGRAM, ctx)
    run(program, options, ctx.obj)


_options(profile)
