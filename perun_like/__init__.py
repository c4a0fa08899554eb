"""perun_like: how much energy, memory, compute, money and CO2e a program used, and how sure that is.

The names below are imported on first use, so that ``import perun_like`` costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from perun_like.errors import PerunError
    from perun_like.inplace.profile import profile
    from perun_like.model.node import DataNode, Metric
    from perun_like.monitoring.application import Application
    from perun_like.monitoring.callbacks import register_callback, register_live_callback, unregister_callback
    from perun_like.monitoring.monitor import PerunMonitor
    from perun_like.monitoring.region import region
    from perun_like.monitoring.status import MonitorStatus
    from perun_like.store.reader import load

__version__ = "0.1.0"
__all__ = [
    "Application",
    "DataNode",
    "Metric",
    "MonitorStatus",
    "PerunError",
    "PerunMonitor",
    "load",
    "profile",
    "region",
    "register_callback",
    "register_live_callback",
    "unregister_callback",
]

_HOMES = {
    "Application": "perun_like.monitoring.application",
    "DataNode": "perun_like.model.node",
    "Metric": "perun_like.model.node",
    "MonitorStatus": "perun_like.monitoring.status",
    "PerunError": "perun_like.errors",
    "PerunMonitor": "perun_like.monitoring.monitor",
    "load": "perun_like.store.reader",
    "profile": "perun_like.inplace.profile",
    "region": "perun_like.monitoring.region",
    "register_callback": "perun_like.monitoring.callbacks",
    "register_live_callback": "perun_like.monitoring.callbacks",
    "unregister_callback": "perun_like.monitoring.callbacks",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
