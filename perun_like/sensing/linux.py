"""Readings of a Linux host, straight from ``/proc`` and ``/sys`` through held descriptors."""

from __future__ import annotations

import os
from collections.abc import Sequence

from perun_like.sensing.contract import Context
from perun_like.sensing.linux_processes import ProcessTree

SECTOR_B = 512  # the kernel counts in these, whatever the disk's own sectors are


class LinuxSystem:
    """See :class:`perun_like.sensing.system.System`."""

    def __init__(self, proc_root: str = "/proc", sys_root: str = "/sys") -> None:
        self._proc = proc_root
        self._sys = sys_root
        self.ticks_per_s = os.sysconf("SC_CLK_TCK")

    def logical_cpus(self) -> int:
        """Lines of /proc/stat that are a CPU's."""
        with open(f"{self._proc}/stat", "rb") as file:
            return sum(line.startswith(b"cpu") for line in file) - 1  # the first one is the sum

    def cpu_busy(self) -> CpuBusy:
        """From /proc/stat."""
        return CpuBusy(f"{self._proc}/stat")

    def memory(self) -> Memory:
        """From /proc/meminfo."""
        return Memory(f"{self._proc}/meminfo")

    def disks(self) -> Sums:
        """From /sys/block/*/stat, whose fields are those of /proc/diskstats."""
        files = [f"{self._sys}/block/{name}/stat" for name in physical_disks(self._sys)]
        return Sums([[(file, 2) for file in files], [(file, 6) for file in files]], SECTOR_B)

    def network(self) -> Sums:
        """From /sys/class/net/*/statistics."""
        folders = [f"{self._sys}/class/net/{name}/statistics" for name in counted_interfaces(self._sys)]
        return Sums([[(f"{folder}/{file}", 0) for folder in folders] for file in ("rx_bytes", "tx_bytes")])

    def processes(self, context: Context) -> ProcessTree:
        """From /proc/<pid>/."""
        return ProcessTree(context)


class HeldFile:
    """A file that stays open and is read again from its start, or can't be read at all."""

    def __init__(self, path: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = -1

    def read(self, size: int) -> bytes:
        """Its first ``size`` bytes; none if it can't be read."""
        try:
            return os.pread(self._descriptor, size, 0)
        except OSError:
            return b""

    def close(self) -> None:
        """Give back the descriptor; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class CpuBusy:
    """Ticks of user, nice, system, irq and softirq, all CPUs together."""

    def __init__(self, path: str) -> None:
        self._file = HeldFile(path)

    def read(self) -> tuple[int | None]:
        """One counter. The first line holds the sums: reading all of a long file would cost as much again."""
        fields = self._file.read(256).split(b"\n", 1)[0].split()
        try:
            _, user, nice, system, _idle, _iowait, irq, softirq = map(int, [b"0", *fields[1:8]])
        except ValueError:
            return (None,)
        return (user + nice + system + irq + softirq,)

    def close(self) -> None:
        """Give back the descriptor."""
        self._file.close()


class Memory:
    """MemTotal less MemAvailable, and MemAvailable."""

    def __init__(self, path: str) -> None:
        self._file = HeldFile(path)

    def read(self) -> tuple[int | None, int | None]:
        """Bytes used and available; the kernel's estimate of what can be had without swapping is "available"."""
        text = self._file.read(4096)
        total, available = _meminfo(text, b"MemTotal:"), _meminfo(text, b"MemAvailable:")
        if total is None or available is None:
            return None, None
        return total - available, available

    def close(self) -> None:
        """Give back the descriptor."""
        self._file.close()


def _meminfo(text: bytes, key: bytes) -> int | None:
    """Bytes of one entry of /proc/meminfo."""
    _, found, rest = text.partition(key)
    words = rest.split(None, 1)
    return int(words[0]) * 1024 if found and words and words[0].isdigit() else None


class Sums:
    """Sums of one number from each of several files.

    Args:
        columns: For each value, the files and the position of the number among the file's words.
        factor: Unit of the numbers.
    """

    def __init__(self, columns: Sequence[Sequence[tuple[str, int]]], factor: int = 1) -> None:
        self._factor = factor
        self._files = {path: HeldFile(path) for path in {path for column in columns for path, _ in column}}
        self._columns = columns

    def read(self) -> list[int | None]:
        """The sums; None where a file can't be read, as a sum without it would run backwards, or is empty."""
        words = {path: file.read(256).split() for path, file in self._files.items()}
        return [self._sum(column, words) for column in self._columns]

    def _sum(self, column: Sequence[tuple[str, int]], words: dict[str, list[bytes]]) -> int | None:
        try:
            numbers = [int(words[path][position]) for path, position in column]
        except (IndexError, ValueError):
            return None
        return sum(numbers) * self._factor if numbers else None

    def close(self) -> None:
        """Give back the descriptors."""
        for file in self._files.values():
            file.close()


def physical_disks(sys_root: str) -> list[str]:
    """Whole disks that stand for hardware, each byte counted at one of them.

    Partitions aren't in /sys/block. Loop devices, RAM disks, device mapper and md have no ``device``; what is
    stacked on others has ``slaves``. An NVMe drive with several paths has one hidden disk a path and one for all:
    the kernel counts at the paths, and since 6.4 also at the one for all.
    """
    block = f"{sys_root}/block"
    names = [name for name in _list(block) if os.path.exists(f"{block}/{name}/device")]
    names = [name for name in names if not _list(f"{block}/{name}/slaves")]
    with_paths = {_multipath_head(name) for name in names}
    return [name for name in names if name not in with_paths]


def _multipath_head(name: str) -> str | None:
    """``nvme0n1`` for its path ``nvme0c1n1``; None for anything else."""
    controller, found, rest = name.partition("c")
    _, _, namespace = rest.partition("n")
    is_path = name.startswith("nvme") and bool(found) and namespace.isdigit()
    return f"{controller}n{namespace}" if is_path else None


def counted_interfaces(sys_root: str) -> list[str]:
    """Network interfaces of which each byte passes exactly one.

    Those with a ``device`` are hardware; bonds, bridges, VLANs and tunnels send through them. An interface that
    hands its traffic to a ``master`` with a ``device`` of its own (Azure's accelerated networking) is left out:
    the master counts it. Where there is no hardware, as in a container: all but the loopback and what is stacked
    on others.
    """
    net = f"{sys_root}/class/net"
    names = [name for name in _list(net) if name != "lo" and os.path.isdir(f"{net}/{name}/statistics")]
    physical = [name for name in names if os.path.exists(f"{net}/{name}/device")]
    if physical:
        return [name for name in physical if not os.path.exists(f"{net}/{name}/master/device")]
    return [name for name in names if not any(entry.startswith("lower_") for entry in _list(f"{net}/{name}"))]


def _list(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
