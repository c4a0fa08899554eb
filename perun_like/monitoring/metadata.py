"""Facts about a run that go beside its figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perun_like import __version__
from perun_like.config import Settings
from perun_like.monitoring.application import Application

if TYPE_CHECKING:
    from perun_like.analysis.emissions import Assumptions

# The only parts of the environment that are stored.
_SCHEDULER_VARIABLES = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_JOB_PARTITION", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


def run_metadata(app: Application, config: Settings) -> dict[str, Any]:
    """What was run, with which settings, and where each of them came from; ready for JSON."""
    settings = {key: value for key, value in config._asdict().items() if key != "origins"}
    command = {"command": list(app.argv), "interpreter": app.interpreter} if config.command and app.argv else {}
    function = {"function": app.place} if app.place is not None else {}
    return {
        **command,
        **function,
        "software_version": __version__,
        "period_ns": config.period_ns,
        "settings": settings,
        "origins": dict(config.origins),
        "scheduler": {name: os.environ[name] for name in _SCHEDULER_VARIABLES if name in os.environ},
    }


def check_place(country: str | None) -> None:
    """Refuse a place that isn't known, before the program has run rather than after.

    Raises:
        InputError: there is no such country.
    """
    if country is not None:
        assumptions({"country": country})


def assumptions(settings: Mapping[str, Any]) -> Assumptions:
    """Place and price from a run's stored settings.

    Raises:
        InputError: there is no such country.
    """
    from perun_like.analysis.emissions import Assumptions  # 5 ms, with a table: not before the application's start

    price = settings.get("price")
    return Assumptions(
        country=settings.get("country"),
        intensity_g_per_kwh=settings.get("intensity_g_per_kwh"),
        pue=settings.get("pue", 1.0),
        price=None if price is None else (price[0], price[1]),
    )
