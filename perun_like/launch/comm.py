"""Which process of which job this is."""

from __future__ import annotations

from typing import NamedTuple

from perun_like.errors import InputError


class Comm(NamedTuple):
    """Rank, size, local rank and the job's id. Nothing is ever communicated through it.

    Attributes:
        rank: 0 to ``size - 1``.
        size: How many processes the job has, on all hosts.
        local_rank: Counted on this host. Where the launcher doesn't tell, the rank itself: other ranks don't have it.
        job_id: Equal on all ranks of a job, any characters; None for a process that stands alone. It names what the
            launcher started, not one profile of it: what a rank starts one after the other has the same id.
        local_size: How many processes of the job are on this host; None where the launcher doesn't tell.
        launcher: What started the job: ``hydra``, ``Open MPI``, …; None if nothing known did.
        problem: Why a process that seems to belong to a job stands alone; None if all is well.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    job_id: str | None = None
    local_size: int | None = 1
    launcher: str | None = None
    problem: str | None = None

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
