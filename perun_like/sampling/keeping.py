"""What a sampler keeps of a run: the samples it moves to its part, and what goes there beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from perun_like.sampling import segments
from perun_like.sampling.host import clock_error_ns, clocks, host_facts
from perun_like.sampling.local import is_of_part, name_part, remove_directory
from perun_like.sampling.ranks import ranks_in, read_notes
from perun_like.sampling.spool import FOOTER, HEADER, MARKS, NOTE, ROUNDS, STREAM, Part, Tail

if TYPE_CHECKING:
    from perun_like.sampling.budget import Budget
    from perun_like.sampling.company import Company
    from perun_like.sampling.protocol import Message

MOVE_PERIOD_S = 30.0  # losing the host loses at most this much
SPOOL_BUDGET_B = 10**9
_STEP_NS = 50_000_000  # two clocks can't be read at one instant, and real time is always trimmed a little


def keep_marks(part: Part, directory: str) -> None:
    """What the processes of each rank have marked."""
    from perun_like.sampling.collecting import collect  # 2 ms that only the end needs

    for rank in ranks_in(directory):
        for number, (facts, calls, rounds) in enumerate(collect(os.path.join(directory, str(rank)), rank)):
            part.write_json(NOTE, {"marks": facts, "number": number})
            part.write(MARKS, calls, stream=rank, sequence=number)
            part.write(ROUNDS, rounds, stream=rank, sequence=number)


def frames_of_note(note: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a rank has noted, as the monitor of a single process would have told it."""
    told: list[dict[str, Any]] = [{"function": name, "place": at} for name, at in note.get("functions", {}).items()]
    if "process" in note:
        told.append({"process": note["process"]})
    return told


def run_of_note(rank: int, note: Mapping[str, Any]) -> dict[str, Any]:
    """What a rank would call the run: that of the first rank counts."""
    return {"run": note["run"], "rank": rank}


class Notes:
    """The notes of a host's ranks as they come: each is kept once, and again when it has changed."""

    def __init__(self, part: Part, run: str) -> None:
        self._part, self._run = part, run
        self._kept: dict[int, dict[str, Any]] = {}
        self._first_rank: int | None = None

    def keep(self) -> None:
        """Keep those that are new."""
        for rank, note in read_notes(self._run).items():
            if note != self._kept.get(rank):
                self._kept[rank] = note
                for told in frames_of_note(note):
                    self._part.write_json(NOTE, told)
            if "run" in note and (self._first_rank is None or rank < self._first_rank):
                self._first_rank = rank
                self._part.write_json(NOTE, run_of_note(rank, note))

    @property
    def ranks(self) -> list[int]:
        """Ranks of which any were kept."""
        return list(self._kept)

    @property
    def any_ran(self) -> bool:
        """Whether any of them has started its application."""
        return any("process" in note for note in self._kept.values())


class Clocks:
    """Keeps what the host's clocks show each time that one of them has left the others behind.

    Real time may be set, and CLOCK_MONOTONIC stands still while the machine is suspended. Whoever kills the sampler
    later can't take that back.

    Args:
        part: Where it is kept.
        read: Reads the clocks.
        read_error: Reads how far real time may be off; None where nobody knows.

    Attributes:
        begin: What they showed at the beginning.
    """

    def __init__(
        self,
        part: Part,
        read: Callable[[], dict[str, int]] = clocks,
        read_error: Callable[[], int | None] = clock_error_ns,
    ) -> None:
        self._part, self._read, self._read_error = part, read, read_error
        self.begin = self._kept = read()

    def keep(self) -> None:
        """Keep what they show now, if it isn't what was to be expected."""
        now = self._read()
        passed_ns = [now[name] - then_ns for name, then_ns in self._kept.items()]
        if max(passed_ns) - min(passed_ns) > _STEP_NS:
            self._part.write_json(NOTE, {"clocks": now})
            self._kept = now

    def keep_error(self) -> None:
        """Keep what they show now and how far real time may be off."""
        self._part.write_json(NOTE, {"clocks": self._with_error()})

    def end(self, *, error: bool = False) -> dict[str, int | None]:
        """What they show at the end, and if asked for how far real time may be off."""
        return self._with_error() if error else {**self._read()}

    def _with_error(self) -> dict[str, int | None]:
        return {**self._read(), "error_ns": self._read_error()}


class Keeper:
    """Keeps a host's samples, and what its sampler is told, in the part; and the part in its place and its budget.

    Args:
        order: The message that says where to write.
        company: The ranks it is for, where they are several.
        read_clocks: Reads the host's clocks.

    Attributes:
        part: The part.

    Raises:
        FileExistsError: another sampler writes this part.
        OSError: it can't be written.
    """

    def __init__(self, order: Message, company: Company | None, read_clocks: Callable[[], dict[str, int]]) -> None:
        self.part = Part(order["part"])
        self._clocks = Clocks(self.part, read_clocks)
        self._knows_error = False
        self._local: str = order["local"]
        self._company = company
        self._budget_b: int = order.get("spool_budget_b", SPOOL_BUDGET_B)
        self._budget: Budget | None = None
        self._tails: dict[int, Tail] = {}  # by the number of their stream
        self._unkept: list[dict[str, Any]] = []  # notes for which there was no room yet
        self._marks: str | None = order.get("marks", self._local)
        if self._marks is not None:
            segments.offer(self._marks)
        self._notes = Notes(self.part, company.run) if company is not None and self._marks else None
        header = {"run": order["run"], "rank": order.get("rank", 0), "local": self._local, "marks": self._marks}
        header |= {"host": host_facts(), "clocks": self._clocks.begin}
        self.part.write_json(HEADER, header)
        self._sign()

    def add(self, stream: int, facts: dict[str, Any], tail: Tail) -> None:
        """Keep what is in this tail as well, from now on; the facts say of what it is."""
        self._tails[stream] = tail
        self.part.write_json(STREAM, facts, stream)

    def note(self, content: dict[str, Any]) -> None:
        """Keep something beside the samples, now or as soon as there is room for it."""
        self._unkept.append(content)
        with suppress(OSError):
            self._keep_notes()

    def _keep_notes(self) -> None:
        while self._unkept:
            self.part.write_json(NOTE, self._unkept[0])
            del self._unkept[0]

    def keep_clocks(self) -> None:
        """Keep what the host's clocks show, if one of them has left the others behind."""
        with suppress(OSError):  # where there is no room for it now, there may be later
            self._clocks.keep()

    def keep_error(self) -> None:
        """Keep how far real time may be off, once."""
        if not self._knows_error:
            with suppress(OSError):  # where there is no room for it now, there may be later
                self._clocks.keep_error()
                self._knows_error = True

    def move(self) -> None:
        """Bring the newest samples from this host's memory to the run's directory.

        Raises:
            OSError: there is no room for them now; they are still in memory.
        """
        with suppress(OSError):  # then they go to where it is now, if it is anywhere
            self.part.restore()
        self._sign()
        self._keep_notes()
        for stream, tail in self._tails.items():
            self.part.move(stream, tail)
        if self._notes is not None:
            self._notes.keep()
        self._clocks.keep()

    def keep_within_budget(self) -> None:
        """Have older samples thinned out if the part has become too large."""
        if self._budget is None and self.part.size_b > self._budget_b:
            from perun_like.sampling.budget import Budget  # few runs are long enough to need it

            self._budget = Budget(self.part, self._budget_b)
        if self._budget is not None:
            self._budget.look()
            self._sign()

    def _sign(self) -> None:
        """Note whose the newest samples are: the part may be another file by now."""
        with suppress(OSError):  # nobody then knows whose they are, and they stay here after a kill
            if not is_of_part(self._local, self.part.fileno()):
                name_part(self._local, self.part.fileno())

    def keep_rest(self) -> None:
        """Bring what is left to the part, and what the processes of each rank have marked: all but its end."""
        if self._budget is not None:
            self._budget.abandon()
        self.move()
        if self._marks is not None:
            keep_marks(self.part, self._marks)

    def close(self, stats: dict[str, Any], cut: str | None) -> None:
        """Complete the part and remove the host-local files.

        Args:
            stats: The sampler's own figures.
            cut: Why the recording ends before the application; None if it doesn't.
        """
        noted = [] if self._notes is None else self._notes.ranks
        end = self._clocks.end(error=self._company is not None)  # other hosts' times are compared with ours
        self.part.write_json(FOOTER, {"stats": stats, "clocks": end, "cut": cut, "ranks": noted})
        if self._company is not None:
            self.part.sync()  # another host reads it, and job systems may end us at any moment
        self.part.close()
        remove_directory(self._local)
        if self._company is not None and self._notes is not None:
            self._leave(self._company, self._notes)
        segments.remove_nameless()

    def _leave(self, company: Company, notes: Notes) -> None:
        """Remove what was the ranks', and the part if none of them ever ran anything."""
        from perun_like.launch.turns import set_aside

        with suppress(OSError):  # somebody has deleted it
            remove_directory(set_aside(company.run))
        if notes.any_ran:
            if company.is_last_run:
                remove_directory(os.path.dirname(company.run))
        else:
            with suppress(OSError):  # others have left theirs
                os.unlink(self.part.path)
                os.rmdir(os.path.dirname(self.part.path))
