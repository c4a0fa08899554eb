"""The campaign's table, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .catalogue import FAULTS
from .checks import Outcome

BEGIN, END = "<!-- python tests/faults --table: begin -->", "<!-- python tests/faults --table: end -->"
KINDS = ("lost", "hung", "orphaned", "changed", "wrong")
HEAD = ("fault", "tries", *KINDS, "longest loss")


def table(outcomes: Sequence[Outcome]) -> str:
    """A line a fault, in Markdown, and one for all of them; below it what could not be tried."""
    tried = [outcome for outcome in outcomes if not (outcome.unavailable or outcome.failed)]
    by_name = {name: [outcome for outcome in tried if outcome.fault == name] for name in FAULTS}
    rows = [_row(name, found) for name, found in by_name.items() if found]
    rule = ["---", *["---:"] * (len(HEAD) - 1)]
    lines = [HEAD, rule, *rows, _row(f"**all {len(rows)}**", tried)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "".join(_untried(outcomes))


def _row(name: str, tried: Sequence[Outcome]) -> list[str]:
    counts = [str(sum(bool(getattr(outcome, kind)) for outcome in tried)) for kind in KINDS]
    return [name, str(len(tried)), *counts, _longest(outcome.loss_s for outcome in tried)]


def _longest(losses_s: Iterable[float | None]) -> str:
    known = [loss for loss in losses_s if loss is not None]
    return f"{max(known):.2f} s" if known else ""


def _untried(outcomes: Sequence[Outcome]) -> Iterable[str]:
    tried = {outcome.fault for outcome in outcomes if not outcome.unavailable}
    reasons = {outcome.fault: outcome.unavailable for outcome in outcomes if outcome.fault not in tried}
    yield from (f"\nNot tried: {fault}: {reason}\n" for fault, reason in reasons.items())
    failed = sum(bool(outcome.failed) for outcome in outcomes)
    if failed:
        yield f"\nTries that came to nothing by a fault of the campaign's own: {failed}\n"


def place_of_table(path: Path) -> tuple[str, str]:
    """What stands before and after the table in a document.

    Raises:
        SystemExit: there is no place for it.
    """
    try:
        before, _, rest = path.read_text().partition(BEGIN)
    except OSError as error:
        raise SystemExit(f"the table can't be written into {path}: {error.strerror}") from None
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{path} has no place for the table: write the lines {BEGIN!r} and {END!r} there")
    return before, after


def write_table(path: Path, outcomes: Sequence[Outcome], summary: str) -> None:
    """Put the table in its place in a document: between two comments, which stay."""
    before, after = place_of_table(path)
    path.write_text(f"{before}{BEGIN}\n\n{table(outcomes)}\n{summary}.\n\n{END}{after}")
