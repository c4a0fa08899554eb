"""The command ``perun-like``: its subcommands are imported when they are called."""

from __future__ import annotations

import importlib
from typing import cast

import click

from perun_like import __version__

# In the order in which help lists them.
_COMMANDS = {
    "profile": "Run a program and tell what it used.",
    "report": "Show the report of a run again.",
    "export": "Write a run as JSON or CSV.",
    "recover": "Make a results file of a run that was cut short.",
    "sensors": "What can be measured here, and what can't and why.",
    "setup": "How to get permission to read energy, for good.",
    "config": "Every setting, its value and where it comes from.",
}


class LazyGroup(click.Group):
    """Subcommands by name, each in the module of that name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """All names, without importing anything."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        """Import a subcommand; None if there is none of this name."""
        if cmd_name not in _COMMANDS:
            return None
        return cast(click.Command, getattr(importlib.import_module(f"perun_like.cli.{cmd_name}"), cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        """List the subcommands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="perun-like")
def perun_like() -> None:
    """How much energy, memory, compute, money and CO2e a program used, and how sure that is.

    \b
    perun-like profile script.py ARGS      a Python script
    perun-like profile -m module ARGS      a Python module
    perun-like profile -- ./binary ARGS    any program
    """  # noqa: D301 - click's mark for text that keeps its lines has to be the control character itself
