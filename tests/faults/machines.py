"""The counters that trials see, and whose energy is therefore known."""

from __future__ import annotations

from perun_like.testing import Machine, SquareWave, Sum, Zone

MS = 1_000_000
MACHINE = Machine(
    [
        Zone("intel-rapl:0", "package-0", Sum([SquareWave(20, 180, 130 * MS), SquareWave(5, 45, 37 * MS)])),
        Zone("intel-rapl:1", "package-1", SquareWave(15, 90, 71 * MS), register_bits=22),  # wraps every 256 J
    ]
)
