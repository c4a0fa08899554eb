"""What is said of a run beside its figures: how it ended, which ranks it had, when it was, what was assumed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from perun_like.analysis.emissions import Assumptions, intensity
from perun_like.analysis.ranks import failed_first
from perun_like.analysis.rounds import Round, Timeline
from perun_like.model.recording import Recording
from perun_like.sensing.contract import MEASURED
from perun_like.sensing.overlap import is_energy

MOST_NAMED = 20  # ranks that are told by number
_FEW = 3


def is_job(recording: Recording) -> bool:
    """Whether a run has, or should have had, several ranks."""
    marked = {rounds.rank for host in recording.hosts for rounds in host.rounds}
    return recording.size > 1 or len({process.rank for process in recording.processes} | marked) > 1


def lacking(recording: Recording, of: Round) -> dict[str, str]:
    """What sums over hosts lack in a round, with the reason.

    That is parts which can't be read, and ranks of which nothing was recorded. Nobody knows where those ranks were. One
    that didn't call what was measured in place isn't missing from it.
    """
    lost = {entry["what"]: entry["reason"] for entry in recording.metadata.get("missing", ()) if entry["domains"]}
    return lost | ({} if of.calls is not None else _lacking_ranks(recording, of))


def _lacking_ranks(recording: Recording, of: Round) -> dict[str, str]:
    gone = _missing(recording, of)
    if not gone:
        return {}
    some = f"rank{'s' if len(gone) > 1 else ''} {', '.join(map(str, gone))}"
    name = some if len(gone) <= _FEW else f"{len(gone):,} ranks"
    return {name: f"nothing was recorded of {name}, nor of hosts where no other ranks were"}


def _missing(recording: Recording, of: Round) -> list[int]:
    return sorted(set(range(recording.size)) - _seen(of))


def _seen(of: Round) -> set[int]:
    return {one.rank for one in (of.processes if of.calls is None else of.calls)}


def rounds_metadata(recording: Recording, timeline: Timeline) -> dict[str, Any]:
    """How many rounds there were, those included of which nothing but their number is known, and how many failed."""
    facts: dict[str, Any] = {"rounds": timeline.windows.owners + timeline.lost, "failed": timeline.failed}
    if timeline.lost:
        facts["only_counted"] = timeline.lost
    warmup = (recording.metadata.get("settings") or {}).get("warmup")
    return {**facts, "warmup": warmup} if warmup is not None else facts


def run_metadata(recording: Recording, of: Round, assumptions: Assumptions) -> dict[str, Any]:
    """Of a RUN."""
    a_ns, b_ns = of.window_ns
    started_unix_ns = recording.started_unix_ns + a_ns - recording.window_ns[0]
    started = datetime.fromtimestamp(started_unix_ns / 1e9, timezone.utc)
    return {
        **recording.metadata,
        **_energy_period(recording),
        **_fate(of),
        **(_of_job(recording, of) if is_job(recording) else {}),
        "started": started.isoformat(timespec="milliseconds"),
        "started_unix_ns": started_unix_ns,
        "window_ns": [a_ns, b_ns],
        "processes": [process._asdict() for process in of.processes],
        "assumptions": {**asdict(assumptions), "intensity": intensity(assumptions)._asdict()},
    }


def _energy_period(recording: Recording) -> dict[str, int]:
    """How often energy was really read, which may be less often than asked for: the slowest of its streams.

    Those of models count where nothing was measured: what they are made of changes slowly.
    """
    streams = [stream for host in recording.hosts for stream in host.streams]
    energies = [
        (stream.period_ns, sensor.provenance) for stream in streams for sensor in stream.sensors if is_energy(sensor)
    ]
    measured = [period_ns for period_ns, provenance in energies if provenance == MEASURED]
    periods_ns = measured or [period_ns for period_ns, _ in energies]
    return {"period_ns": max(periods_ns)} if periods_ns else {}


def _fate(of: Round) -> dict[str, Any]:
    """Exit code and signal of the first that failed, else none if an end wasn't seen; nobody saw those of calls."""
    if of.calls is not None:
        unended = {"unended": True} if of.unended else {}
        return {"exit_code": None, "signal": None, "in_place": True, "failed": of.failed, **unended}
    told = failed_first(of.processes) or min(of.processes, key=lambda one: (not one.unended, one.rank), default=None)
    return {"exit_code": told.exit_code, "signal": told.signal} if told else {"exit_code": None, "signal": None}


def _of_job(recording: Recording, of: Round) -> dict[str, Any]:
    """How many ranks there should have been and were, which are missing or have no end, and who failed first."""
    facts: dict[str, Any] = {"size": recording.size, "ranks": len(_seen(of))}
    gone = _missing(recording, of)
    if gone:
        facts |= {"missing_ranks": gone[:MOST_NAMED], "missing_ranks_count": len(gone)}
    unended = sorted({one.rank for one in (of.processes if of.calls is None else of.calls) if one.unended})
    if unended:
        facts |= {"unended_ranks": unended[:MOST_NAMED], "unended_ranks_count": len(unended)}
    failed = _failed(of)
    if failed:
        first = failed_first(of.processes)
        facts |= {"failed_rank": first.rank if first else min(_raised(of) or failed), "failed_ranks": len(failed)}
    return facts


def _raised(of: Round) -> set[int]:
    return {call.rank for call in of.calls or () if call.failed and not call.unended}


def _failed(of: Round) -> set[int]:
    if of.calls is not None:
        return {call.rank for call in of.calls if call.failed}
    return {process.rank for process in of.processes if failed_first([process])}
