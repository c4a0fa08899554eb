"""``perun-like sensors``: everything that can be read here, and everything that can't, with reason and remedy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import click

from perun_like.config import Settings, check_powercap_root, resolve
from perun_like.sensing.contract import ESTIMATED, Context, Missing, Sensor
from perun_like.sensing.discovery import ALTERNATIVES, Discovery, backend_specs, chosen_specs, find_all
from perun_like.sensing.overlap import Split, is_energy, split


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--backend", multiple=True, metavar="NAME", help="Ask only this family of sensors; repeatable.")
@click.option(
    "--by-rank", is_flag=True, help="Which rank of a job reads what, and which GPUs each sees (under mpirun)."
)
@click.option("--output", metavar="DIR", help="Where ranks of --by-rank meet: one directory for all hosts.")
@click.option("--cpu-tdp", "cpu_tdp_w", metavar="WATTS", help="What the host's CPUs draw at full load.")
@click.option("--powercap-root", metavar="DIR", help="Directory of the powercap tree.")
def sensors(as_json: bool, by_rank: bool, **options: object) -> None:
    """Show what can be measured or estimated here, and what can't, why, and what would help."""
    settings = resolve(os.getcwd(), os.environ, options)
    check_powercap_root(settings)
    specs = chosen_specs(sys.path, settings.backend)
    if by_rank:
        _show_by_rank(settings, specs, as_json=as_json)
        return
    context = Context(powercap_root=settings.powercap_root, environ=os.environ, cpu_tdp_w=settings.cpu_tdp_w)
    discovery = find_all(specs, context)
    if as_json:
        click.echo(json.dumps(as_data(discovery), indent=2))
    else:
        show_sensors(discovery, () if settings.backend else tuple(backend_specs(sys.path, ALTERNATIVES)))


def _show_by_rank(settings: Settings, specs: Mapping[str, str], *, as_json: bool) -> None:
    from perun_like.cli import by_rank  # what runs jobs, which the others needn't wait for

    found = by_rank.assignment(settings, specs)
    if found is not None:
        by_rank.show(found, as_json=as_json)


def as_data(discovery: Discovery) -> dict[str, Any]:
    """Everything about each sensor and everything missing, as plain data for JSON."""
    found = _all(discovery)
    division = split(found)
    return {
        "sensors": [
            {**sensor._asdict(), "in_total": sensor.id in division.added, "note": _note(sensor, division)}
            for sensor in found
        ],
        "missing": [missing._asdict() for missing in discovery.missing],
    }


def show_sensors(discovery: Discovery, alternatives: Sequence[str] = ()) -> None:
    """Print what was found and what wasn't on stdout, for people, in 80 columns.

    Args:
        discovery: What the backends said.
        alternatives: Names of backends that weren't asked, as they are used only where they are named.
    """
    from rich.console import Console  # here, as --json needn't wait for it

    console = Console(highlight=False, markup=False)
    found = _all(discovery)
    division = split(found)
    energy = [sensor for sensor in found if is_energy(sensor)]
    _print_energy(console, energy, division)
    _print_others(console, [sensor for sensor in found if not is_energy(sensor)])
    if alternatives:
        console.print(f"Used only if named: {', '.join(f'--backend {name}' for name in alternatives)}\n", style="dim")
    _print_missing(console, discovery.missing)


def _all(discovery: Discovery) -> list[Sensor]:
    return [sensor for sensors in discovery.sensors.values() for sensor in sensors]


def _note(sensor: Sensor, division: Split) -> str:
    """Why a sensor isn't part of a total, or why it is only a part of one."""
    return division.not_added.get(sensor.id) or division.partial.get(sensor.id, "")


def _print_energy(console: Any, energy: Sequence[Sensor], division: Split) -> None:
    console.print("Energy", style="bold")
    if not energy:
        console.print("  none: see below\n")
        return
    table = _table("Sensor", "How", "In the total")
    for sensor in energy:
        added = "yes" if sensor.id in division.added else "no"
        note = _note(sensor, division)
        table.add_row(sensor.id, sensor.provenance, f"{added}: {note}" if note else added)
    console.print(table)
    for sensor in energy:
        if sensor.provenance == ESTIMATED and sensor.id not in division.not_added:
            _print_indented(console, f"{sensor.id}: a model, {_model(sensor)}")
    console.print()


def _model(sensor: Sensor) -> str:
    """An estimate's assumptions, and the range of power that they span from idle to full load."""
    idle_w, active_w = sensor.model["idle_w"], sensor.model["active_w_per_cpu"]
    cpus = sensor.model.get("logical_cpus", 0)
    busy_w = [idle + cpus * active for idle, active in zip(idle_w, active_w, strict=True)]
    watts = f"{_range_w(idle_w)} idle, {_range_w(busy_w)} busy" if cpus else _range_w(idle_w)
    return f"{watts}. {sensor.model['text']}. Source: {sensor.model['source']}."


def _range_w(watts: Sequence[float]) -> str:
    return f"{watts[1]:.2g} W ({watts[0]:.2g} to {watts[2]:.2g})"


def _print_others(console: Any, others: Sequence[Sensor]) -> None:
    console.print("Other", style="bold")
    table = _table("Sensor", "Unit", "Read from")
    for sensor in others:
        table.add_row(sensor.id, sensor.unit, sensor.source)
    console.print(table if others else "  none")
    console.print()


def _print_missing(console: Any, missing: Sequence[Missing]) -> None:
    if not missing:
        return
    console.print("Not available here", style="bold")
    for entry in missing:
        _print_indented(console, f"{entry.backend}: {entry.what}")
        for text in filter(None, (entry.reason, entry.remedy)):
            _print_indented(console, text, 4)


def _print_indented(console: Any, text: str, columns: int = 2) -> None:
    indent = " " * columns
    console.print(fill(text, console.width - 1, initial_indent=indent, subsequent_indent=indent))


def _table(*titles: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == "Unit")
    return table
