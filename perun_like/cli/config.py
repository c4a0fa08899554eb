"""``perun-like config``: each setting, where it comes from, and how to set it."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from perun_like.config import OPTIONS, Option, Settings, resolve
from perun_like.report.format import period


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(as_json: bool) -> None:
    """Show every setting, where its value comes from, and how to set it.

    An option counts before an environment variable, that before a file (perun.toml, or [tool.perun-like] in
    pyproject.toml), that before the default.
    """
    settings = resolve(os.getcwd(), os.environ, {})
    if as_json:
        click.echo(json.dumps({option.key: _facts(option, settings) for option in OPTIONS}, indent=2))
    else:
        _print(settings)


def _facts(option: Option, settings: Settings) -> dict[str, Any]:
    return {
        "field": option.field,
        "value": getattr(settings, option.field),
        "origin": settings.origins[option.field],
        "option": option.flag,
        "environment": option.env,
    }


def _print(settings: Settings) -> None:
    from rich.console import Console  # the only command that is worth its 42 ms
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("Key", no_wrap=True)
    for title in ("Value", "From", "Environment"):
        table.add_column(title, overflow="fold")
    for option in OPTIONS:
        origin = settings.origins[option.field]
        style = "dim" if origin == "default" else "bold"
        cells = (option.key, written(option, getattr(settings, option.field)), origin, option.env)
        table.add_row(*(escape(cell) for cell in cells), style=style)
    console = Console(highlight=False)
    console.print(table)
    console.print("\nKeys stand in perun.toml or, under \\[tool.perun-like], in pyproject.toml.", style="dim")


def written(option: Option, value: Any) -> str:
    """A setting's value as a person would write it."""
    if value is None:
        return "not set"
    if option.is_flag:
        return "no" if value else "yes"
    if option.field == "period_ns":
        return period(value).replace(" ", "")
    if option.field == "spool_budget_b":
        return f"{value / 1e9:g}GB"
    if option.multiple:
        return ", ".join(value) if value else "all"
    if isinstance(value, tuple):
        return f"{value[0]:g}{value[1]}"
    return f"{value:g}" if isinstance(value, float) else str(value)
