"""Steady heat in a plate: one answer from four solvers, and what each costs in energy.

A square plate with a heat source in it and edges held at zero: minus the Laplacian of u is f. The textbook's Jacobi
iteration, successive over-relaxation, conjugate gradients and a fast Fourier transform find the same u. Watch them::

    perun-like profile examples/heat.py

The regions named below appear in the report. Without perun-like the script runs just the same.
"""

import argparse

import numpy as np

from perun_like import region


def dot(a, b):
    """Inner product without BLAS, whose threads would spend more on waiting for each other than on grids this small."""
    return float(np.sum(a * b))


def norm(a):
    """Euclidean norm."""
    return dot(a, a) ** 0.5


def laplacian(u):
    """Minus the five-point Laplacian, times the square of the grid spacing."""
    result = 4 * u
    result[1:] -= u[:-1]
    result[:-1] -= u[1:]
    result[:, 1:] -= u[:, :-1]
    result[:, :-1] -= u[:, 1:]
    return result


@region("jacobi")
def jacobi(f, tolerance):
    """Correct every point by a quarter of what is missing there."""
    u, residual, steps = np.zeros_like(f), f, 0
    while norm(residual) > tolerance * norm(f):
        u += residual / 4
        residual, steps = f - laplacian(u), steps + 1
    return u, steps


@region("over-relaxation")
def over_relaxation(f, tolerance):
    """Correct the red and the black points of a chequerboard in turn, and overshoot by the best factor."""
    u, residual, steps = np.zeros_like(f), f, 0
    omega = 2 / (1 + np.sin(np.pi / (len(f) + 1)))
    red = np.indices(f.shape).sum(axis=0) % 2 == 0
    while norm(residual) > tolerance * norm(f):
        for colour in (red, ~red):
            u += np.where(colour, omega / 4 * residual, 0)
            residual = f - laplacian(u)
        steps += 1
    return u, steps


@region("conjugate gradients")
def conjugate_gradients(f, tolerance):
    """Search along directions that don't undo one another."""
    u, residual, direction, steps = np.zeros_like(f), f, f, 0
    while norm(residual) > tolerance * norm(f):
        image, square = laplacian(direction), dot(residual, residual)
        length = square / dot(direction, image)
        u += length * direction
        residual = residual - length * image
        direction = residual + dot(residual, residual) / square * direction
        steps += 1
    return u, steps


@region("Fourier")
def fourier(f, _tolerance):
    """Divide by the Laplacian's eigenvalues in the basis of sines: exact in one step."""
    n = len(f)
    odd = np.zeros((2 * n + 2, 2 * n + 2))
    for rows, sign_r in ((slice(1, n + 1), 1), (slice(2 * n + 1, n + 1, -1), -1)):
        for columns, sign_c in ((slice(1, n + 1), 1), (slice(2 * n + 1, n + 1, -1), -1)):
            odd[rows, columns] = sign_r * sign_c * f
    eigenvalues = 2 - 2 * np.cos(np.pi * np.arange(2 * n + 2) / (n + 1))
    divisor = eigenvalues[:, None] + eigenvalues
    divisor[0, 0] = 1
    return np.fft.ifft2(np.fft.fft2(odd) / divisor).real[1 : n + 1, 1 : n + 1], 1


def main():
    """Solve the problem four times and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=159, help="grid points along an edge (default: 159)")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="relative residual (default: 1e-4)")
    options = parser.parse_args()

    with region("set-up"):
        x = np.linspace(0, 1, options.points + 2)[1:-1]
        source = np.exp(-200 * ((x[:, None] - 0.3) ** 2 + (x - 0.6) ** 2))

    for solve in (jacobi, over_relaxation, conjugate_gradients, fourier):
        u, steps = solve(source, options.tolerance)
        residual = norm(source - laplacian(u)) / norm(source)
        print(f"{solve.__name__.replace('_', ' '):20s} {steps:7d} steps   residual {residual:.1e}")


if __name__ == "__main__":
    main()
