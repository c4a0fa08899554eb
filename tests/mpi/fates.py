"""Programs for all ranks of a job: ``fates.py KIND FATE``; rank 1 meets the fate."""

from __future__ import annotations

import os
import signal
import sys

kind, fate = sys.argv[1:]
rank = int(os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"])
if kind == "mpi":
    from mpi4py import MPI

    MPI.COMM_WORLD.Barrier()
if rank == 1:
    if fate == "code":
        os._exit(3)
    if fate == "signal":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    if fate == "abort":
        MPI.COMM_WORLD.Abort(7)
if kind == "mpi":
    MPI.COMM_WORLD.Barrier()
sys.stdout.write(f"rank {rank} done\n")
