#!/bin/sh
# What launchers are given in place of ssh: fake_host.sh [OPTIONS] HOST COMMAND...
# The command runs on this machine, which looks to it like another one: its own name, its own /dev/shm, its own identity
# (PERUN_HOST_ID), and whatever the script in FAKE_HOST_SETUP does there before.
while [ "${1#-}" != "$1" ]; do shift; done # of ssh's options, launchers use only some without a value
export FAKE_HOST="$1" PERUN_HOST_ID="$1"
shift
[ "$(id -u)" = 0 ] || user="--user --map-root-user"
# shellcheck disable=SC2086 # none or two words
exec unshare --uts --ipc --mount --propagation private ${user-} sh -c '
    set -e
    hostname "$FAKE_HOST"
    mount -t tmpfs tmpfs /dev/shm
    if [ -n "${FAKE_HOST_SETUP-}" ]; then . "$FAKE_HOST_SETUP"; fi
    exec sh -c "$1"' sh "$*"
