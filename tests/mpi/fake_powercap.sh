# FAKE_HOST_SETUP: $FAKE_POWERCAP/HOST is this host's /sys/class/powercap, whether the machine has one or not.
aside=$(mktemp -d)
mount --rbind /sys/class "$aside"
mount -t tmpfs tmpfs /sys/class
for class in "$aside"/*; do
    mkdir "/sys/class/${class##*/}"
    mount --rbind "$class" "/sys/class/${class##*/}"
done
mkdir -p /sys/class/powercap
mount --bind "$FAKE_POWERCAP/$FAKE_HOST" /sys/class/powercap
umount -l "$aside"
rmdir "$aside"
