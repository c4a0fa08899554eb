"""Which process of which job this is."""

from __future__ import annotations

from dataclasses import dataclass

from perun_like.errors import InputError


@dataclass(frozen=True)
class Comm:
    """Rank, size, local rank and the job's id. Nothing is ever communicated through it.

    Attributes:
        rank: 0 to ``size - 1``.
        size: How many processes the job has, on all hosts.
        local_rank: Counted on this host.
        job_id: Equal on all ranks of a job; None outside of one.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    job_id: str | None = None

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: the rank is not one of the job's.
        """
        if not 0 <= self.rank < self.size or not 0 <= self.local_rank < self.size:
            raise InputError(
                f"rank {self.rank} (local rank {self.local_rank}) can't be one of {self.size}: ranks count from 0; "
                "check the launcher's environment variables"
            )
