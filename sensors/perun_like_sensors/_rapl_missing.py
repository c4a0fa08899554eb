"""Why there is no RAPL counter to read, in the reader's words, and what would help."""

from __future__ import annotations

from collections.abc import Sequence

from perun_like.sensing.contract import Context, Missing, Sensor
from perun_like_sensors._powercap import list_directory, read_text

ROOT_ONLY = "energy_uj is readable by root only since kernel 5.10 (CVE-2020-8694)"
DOMAINS = ("package", "dram")  # what a total has from RAPL
_SETUP = "perun-like setup"


def unreadable(sensors: Sequence[Sensor], reason: str) -> Missing:
    """Zones that exist and can't be read, for one common reason."""
    remedy = f"'{_SETUP}' prints what grants it for good." if reason == ROOT_ONLY else ""
    what = ", ".join(sensor.id for sensor in sensors)
    return Missing("rapl", what, reason, remedy, domains=tuple(_domain(sensor) for sensor in sensors))


def _domain(sensor: Sensor) -> str:
    """What a total lacks without a zone; nothing if it only shows another one's counter again."""
    is_added = sensor.domain in DOMAINS and not sensor.id.startswith("rapl:mmio:")
    return str(sensor.domain) if is_added else ""


def no_zones(context: Context) -> Missing:
    """Why no zone was found: the tree is absent, hidden from a container, or empty."""
    root = context.powercap_root
    entries = list_directory(root)
    if any("rapl" in entry for entry in entries):
        reason = f"{root} is masked: its zones are listed but lead nowhere, as inside a container"
        remedy = f"'{_SETUP}' prints the container options that show it."
        return Missing("rapl", "energy", reason, remedy, domains=DOMAINS)
    reason, remedy = _hardware(context)
    tree = f"{root} has no RAPL zone" if entries else f"there is no powercap tree at {root}"
    return Missing("rapl", "energy", f"{tree}: {reason}", remedy, domains=DOMAINS)


def _hardware(context: Context) -> tuple[str, str]:
    """What the processor says about itself, as far as it decides the matter."""
    cpuinfo = read_text(f"{context.proc_root}/cpuinfo") or ""
    if " hypervisor" in cpuinfo:
        return (
            "this is a virtual machine, and hypervisors keep the counters to themselves",
            "Run on the machine itself; until then energy can only be estimated.",
        )
    if "CPU implementer" in cpuinfo:
        return "ARM processors have no RAPL", "Energy can only be estimated."
    if "AuthenticAMD" in cpuinfo:
        return (
            "the kernel's driver isn't loaded, or the kernel is older than 5.11 and doesn't know AMD's",
            "As root: modprobe intel_rapl_msr (it serves AMD, too). In a container, see 'perun-like setup'.",
        )
    return (
        "the kernel's driver isn't loaded, or this is a container that hides it",
        "As root: modprobe intel_rapl_msr. In a container, see 'perun-like setup'.",
    )
