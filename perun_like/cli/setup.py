"""``perun-like setup``: how an administrator lets people read energy counters, for good. It changes nothing."""

from __future__ import annotations

import click

_TEXT = """\
# Why: since Linux 5.10 only root may read energy_uj. Fine-grained readings by
# anyone were a side channel to other users' secrets (CVE-2020-8694, Platypus).
# So give them to a group, not to everyone. Do one of these as root, once per
# machine. A chmod alone is undone by the next reboot.

groupadd --system {group}
usermod --append --groups {group} USER        # USER logs in again after this

# --- A rule of udev: applied whenever the driver loads ------------------------
cat > /etc/udev/rules.d/70-perun-like.rules <<'END'
SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chgrp -f {group} %S%p/energy_uj"
SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chmod -f 0440 %S%p/energy_uj"
END
udevadm control --reload
udevadm trigger --subsystem-match=powercap --action=add

# --- or a rule of tmpfiles.d: applied at boot, where the driver is built in or
# --- loaded early
cat > /etc/tmpfiles.d/perun-like.conf <<'END'
z /sys/class/powercap/intel-rapl*:*/energy_uj 0440 root {group} -
END
systemd-tmpfiles --create /etc/tmpfiles.d/perun-like.conf

# --- No zones at all? Load the driver now and at every boot (Intel, and AMD
# --- since Linux 5.11)
modprobe intel_rapl_msr
echo intel_rapl_msr > /etc/modules-load.d/perun-like.conf

# --- Slurm: to the job's owner while the job runs, best on exclusive nodes ---
# in the prolog:
chown "$SLURM_JOB_UID" /sys/class/powercap/intel-rapl*:*/energy_uj
# in the epilog:
chown root /sys/class/powercap/intel-rapl*:*/energy_uj

# --- Containers: the tree is masked; show it in another place -----------------
docker run -v /sys/devices/virtual/powercap:/host/powercap:ro \\
    -e PERUN_POWERCAP_ROOT=/host/powercap IMAGE ...
#   not as root in there? add:  --group-add $(getent group {group} | cut -d: -f3)
#   --security-opt systempaths=unconfined unmasks it in its own place, and much
#   else with it
podman run -v /sys/devices/virtual/powercap:/host/powercap:ro \\
    -e PERUN_POWERCAP_ROOT=/host/powercap --group-add keep-groups IMAGE ...
#   apptainer and singularity show the host's /sys: nothing to do in there
#   Kubernetes: a hostPath volume of /sys/devices/virtual/powercap, read-only,
#   and PERUN_POWERCAP_ROOT

# Then:  perun-like sensors
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--group", default="energy", show_default=True, metavar="NAME", help="Who may read energy counters.")
def setup(group: str) -> None:
    """Print how to permit reading energy counters, for good: as root, in Slurm, in containers.

    Nothing is changed: an administrator reads it and runs the part that fits.
    """
    click.echo(_TEXT.format(group=group), nl=False)
