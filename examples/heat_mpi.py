"""A hot plate on many ranks: where does the energy go, into computing, exchanging or waiting?

    mpirun -n 4 perun-like profile examples/heat_mpi.py

Each rank has some rows of a square plate whose upper edge is kept hot, and the rows at its ends come from its
neighbours before each sweep. A heat source keeps rank 0 busier than the others, who wait for it: that costs energy too,
and shows as the imbalance of ``sweep``.
"""

from __future__ import annotations

import sys

import numpy as np
from mpi4py import MPI

from perun_like import region

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()
ABOVE = RANK - 1 if RANK > 0 else MPI.PROC_NULL
BELOW = RANK + 1 if RANK < SIZE - 1 else MPI.PROC_NULL


def my_rows(side: int) -> int:
    """How many of the plate's rows are this rank's."""
    return side // SIZE + (side % SIZE > RANK)


@region("exchange")
def exchange(plate: np.ndarray) -> None:
    """Tell the neighbours the rows at our ends and hear theirs."""
    COMM.Sendrecv(plate[1], ABOVE, recvbuf=plate[-1], source=BELOW)
    COMM.Sendrecv(plate[-2], BELOW, recvbuf=plate[0], source=ABOVE)


@region("sweep")
def sweep(plate: np.ndarray, source: np.ndarray) -> float:
    """One step of Jacobi's method; returns the largest change."""
    new = (plate[:-2, 1:-1] + plate[2:, 1:-1] + plate[1:-1, :-2] + plate[1:-1, 2:]) / 4
    if RANK == 0:
        for _ in range(4):  # the source is there, and not cheap to work out
            new = new + 1e-6 * np.exp(-source[1:-1, 1:-1])
    change = float(np.abs(new - plate[1:-1, 1:-1]).max())
    plate[1:-1, 1:-1] = new
    return change


@region("residual")
def largest(change: float) -> float:
    """The largest change anywhere on the plate."""
    return float(COMM.allreduce(change, op=MPI.MAX))


def main(side: int, steps: int) -> None:
    """Heat the plate."""
    plate = np.zeros((my_rows(side) + 2, side + 2))
    if RANK == 0:
        plate[0] = 100.0
    source = np.abs(np.linspace(-3, 3, plate.size).reshape(plate.shape))
    change = 0.0
    for _ in range(steps):
        exchange(plate)
        change = largest(sweep(plate, source))
    if RANK == 0:
        print(f"{SIZE} ranks, {side} x {side} points, {steps} steps: last change {change:.2e}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3] or (600, 300)))
