"""Machines as people have them, ready for use. Their power always varies, differently in each zone."""

from __future__ import annotations

from collections.abc import Callable

from perun_like.testing.machine import Machine, Zone
from perun_like.testing.power import Constant, Power, Ramp, RandomWalk, SquareWave, Sum

_MS = 1_000_000
_DRAM_UNIT_NJ = 15_300  # the fixed unit of DRAM on Xeons
_AMD_UNIT_NJ = 15_258  # 2^-16 J, in the kernel's whole nanojoules


def two_socket_server(seed: int = 0, register_bits: int = 32) -> Machine:
    """Two packages, each with core, uncore and dram: the package contains all but the memory."""
    return Machine([zone for socket in range(2) for zone in _socket(socket, seed, register_bits)])


def laptop(seed: int = 0) -> Machine:
    """One package with core and uncore, and psys, which contains the package and the rest of the board."""
    core: Power = RandomWalk(1, 23, 7 * _MS, seed, stride_w=6)
    uncore: Power = SquareWave(0.5, 3, 90 * _MS)
    package = Sum([core, uncore, Constant(1.5)])
    return Machine(
        [
            Zone("intel-rapl:0", "package-0", package, start_uj=5_000_000, max_power_w=28),
            Zone("intel-rapl:0:0", "core", core, max_power_w=None),
            Zone("intel-rapl:0:1", "uncore", uncore, max_power_w=None),
            Zone("intel-rapl:1", "psys", Sum([package, SquareWave(4, 9, 310 * _MS)]), max_power_w=60),
        ]
    )


def mmio_laptop(seed: int = 0) -> Machine:
    """A package that can also be read through the memory-mapped interface: two zones, one counter."""
    package = RandomWalk(3, 25, 5 * _MS, seed, stride_w=8)
    msr = Zone("intel-rapl:0", "package-0", package, start_uj=9_000_000, max_power_w=28)
    mmio = Zone("intel-rapl-mmio:0", "package-0", package, start_uj=9_000_000, max_power_w=28)
    return Machine([msr, mmio])


def multi_die_server(seed: int = 0, mirrored: bool = False) -> Machine:
    """Two packages of two dies each, with the kernel's names for that.

    Args:
        seed: Of the random walks.
        mirrored: The dies of a package show one and the same counter, as on some processors.
    """
    zones: list[Zone] = []
    for index in range(4):
        package, die = divmod(index, 2)
        walk = RandomWalk(20, 140, 3 * _MS, seed + (package if mirrored else index), stride_w=30)
        start_uj = 1_000_000 * (1 + (package if mirrored else index))
        zones.append(Zone(f"intel-rapl:{index}", f"package-{package}-die-{die}", walk, start_uj))
    return Machine(zones)


def many_package_server(packages: int = 12, seed: int = 0) -> Machine:
    """More than ten packages: names and paths don't sort as their numbers do."""
    return Machine(
        [
            Zone(f"intel-rapl:{n}", f"package-{n}", RandomWalk(20 + n, 150 + n, 4 * _MS, seed + n), 1_000 * n)
            for n in range(packages)
        ]
    )


def amd_server(seed: int = 0) -> Machine:
    """One package with core, in AMD's unit; there is no counter for its memory."""
    core = RandomWalk(15, 180, 4 * _MS, seed, stride_w=40)
    package = Sum([core, Ramp([(0, 30.0), (1_000 * _MS, 60.0), (2_000 * _MS, 25.0)])])
    return Machine(
        [
            Zone("intel-rapl:0", "package-0", package, unit_nj=_AMD_UNIT_NJ, max_power_w=None),
            Zone("intel-rapl:0:0", "core", core, unit_nj=_AMD_UNIT_NJ, max_power_w=None),
        ]
    )


def _socket(socket: int, seed: int, register_bits: int) -> list[Zone]:
    core = RandomWalk(10, 120, 3 * _MS, seed + socket, stride_w=25)
    uncore = SquareWave(6, 18, (130 + 40 * socket) * _MS)
    package = Sum([core, uncore, Constant(9)])
    dram = Ramp([(0, 4.0), (900 * _MS, 22.0 + socket), (1_700 * _MS, 7.0), (2_500 * _MS, 15.0)])
    path = f"intel-rapl:{socket}"
    return [
        Zone(path, f"package-{socket}", package, 3_000_000, register_bits=register_bits, max_power_w=350),
        Zone(f"{path}:0", "core", core, 1_000_000, register_bits=register_bits, max_power_w=None),
        Zone(f"{path}:1", "uncore", uncore, register_bits=register_bits, max_power_w=None),
        Zone(f"{path}:2", "dram", dram, unit_nj=_DRAM_UNIT_NJ, register_bits=register_bits, max_power_w=60),
    ]


READY_MADE: dict[str, Callable[[], Machine]] = {
    make.__name__: make
    for make in (two_socket_server, laptop, mmio_laptop, multi_die_server, many_package_server, amd_server)
}
