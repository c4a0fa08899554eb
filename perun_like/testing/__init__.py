"""The simulated machine: known power, known truth. Public: test your own backend or analysis with it.

The names below are imported on first use: what serves the counters does without numpy, what records them doesn't.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from perun_like.testing.clock import ManualClock
    from perun_like.testing.machine import Fault, Machine, Zone
    from perun_like.testing.machines import (
        amd_server,
        laptop,
        many_package_server,
        mmio_laptop,
        multi_die_server,
        two_socket_server,
    )
    from perun_like.testing.mount import FuseUnavailableError
    from perun_like.testing.power import Constant, Power, Ramp, RandomWalk, SquareWave, Sum
    from perun_like.testing.powercap import SimulatedPowercap, simulated_powercap
    from perun_like.testing.recorder import record, sensors_of

__all__ = [
    "Constant",
    "Fault",
    "FuseUnavailableError",
    "Machine",
    "ManualClock",
    "Power",
    "Ramp",
    "RandomWalk",
    "SimulatedPowercap",
    "SquareWave",
    "Sum",
    "Zone",
    "amd_server",
    "laptop",
    "many_package_server",
    "mmio_laptop",
    "multi_die_server",
    "record",
    "sensors_of",
    "simulated_powercap",
    "two_socket_server",
]

_HOMES = {
    "clock": ("ManualClock",),
    "machine": ("Fault", "Machine", "Zone"),
    "machines": tuple(name for name in __all__ if name.endswith(("laptop", "server"))),
    "mount": ("FuseUnavailableError",),
    "power": ("Constant", "Power", "Ramp", "RandomWalk", "SquareWave", "Sum"),
    "powercap": ("SimulatedPowercap", "simulated_powercap"),
    "recorder": ("record", "sensors_of"),
}


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first used."""
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
