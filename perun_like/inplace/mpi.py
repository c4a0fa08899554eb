"""This process's place in its job, for what it measures of itself: as its launcher and, if it has MPI, mpi4py say."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from perun_like.errors import InputError
from perun_like.launch.comm import Comm
from perun_like.launch.launchers import detect


def own_place(environ: Mapping[str, str]) -> Comm:
    """The place of this process. MPI is asked for nothing but rank and size, and only if it is initialised already.

    Raises:
        InputError: the launcher's variables contradict each other, or what MPI says.
    """
    comm = detect(environ)
    world = _world()
    if world is None:
        return comm
    rank, size = world.Get_rank(), world.Get_size()
    if comm.job_id is None and size > 1:
        if job_id := environ.get("PERUN_JOB_ID"):
            return Comm(rank, size, rank, job_id, None, comm.launcher)
        problem = comm.problem or (
            f"MPI says that this is rank {rank} of {size}, but which job that is can't be told: each rank gets a "
            "profile of its own. For a common one, set PERUN_JOB_ID, equal on all ranks"
        )
        return comm._replace(problem=problem)
    if (comm.rank, comm.size) != (rank, size):
        raise InputError(
            f"the launcher's variables say rank {comm.rank} of {comm.size}, MPI says rank {rank} of {size}: check the "
            "variables, or set PERUN_RANK and PERUN_SIZE"
        )
    return comm


def _world() -> Any:
    """mpi4py's communicator of all ranks; None if MPI isn't there, or is not to be called (any more)."""
    module = sys.modules.get("mpi4py.MPI")
    if module is None or not module.Is_initialized() or module.Is_finalized():
        return None
    return module.COMM_WORLD
