"""A program for all ranks of a job, of which one fails: ``fates.py mpi|plain FATE [RANK]``.

All ranks work for a moment in a region of that name. The others then wait for the one that fails, if they have MPI;
else they end by themselves a little later.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

from perun_like import region

kind, fate, *which = sys.argv[1:]
rank = int(os.environ.get("PMI_RANK") or os.environ["OMPI_COMM_WORLD_RANK"])
with region("work"):
    time.sleep(0.15)
if kind == "mpi":
    from mpi4py import MPI

    MPI.COMM_WORLD.Barrier()
if rank == int(which[0] if which else 1):
    if fate == "raise":
        raise RuntimeError(f"a fault of rank {rank}")
    if fate == "exit":
        sys.exit(3)
    if fate == "code":
        os._exit(3)
    if fate == "segfault":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    if fate == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "kill profiler":
        os.kill(os.getppid(), signal.SIGKILL)
    if fate == "kill sampler":
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"perun_like.sampling.serve" in file.read() and os.readlink(f"/proc/{pid}/cwd") == os.getcwd():
                    os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.1)
    if fate == "abort":
        MPI.COMM_WORLD.Abort(7)
    if fate == "hang":
        with open("hanging", "w"):  # a pipe, which the test reads
            pass
        time.sleep(3600)
if kind == "mpi":
    MPI.COMM_WORLD.Barrier()
else:
    time.sleep(0.1)
sys.stdout.write(f"rank {rank} done\n")
