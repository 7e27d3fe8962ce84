#!/bin/bash
# Boots a private systemd as PID 1 of new namespaces, in a root that holds nothing of the machine but /usr.
#
#   boot.sh ROOT STATE
#
# ROOT   an empty directory; a tmpfs is mounted on it, in the new namespaces only
# STATE  a directory with etc/ (copied over /etc), opt/ (bound to /opt) and srv/ (bound to /srv, so that the drop
#        folder and the archive lie on a real file system); `STATE/pid` is systemd's PID as seen from outside
#
# Needs root and cgroup v2. Ends when that systemd ends; killing it takes everything in there along.
set -euo pipefail
root=$(realpath "$1")
state=$(realpath "$2")

if [ -z "${SORTER_BOOT_INSIDE:-}" ]; then
    # systemd must own the cgroup tree it sees: a cgroup of its own becomes the root of the cgroup namespace.
    cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/sorter-boot.$$
    mkdir "$cgroup"
    trap 'find "$cgroup" -depth -type d -exec rmdir {} +' EXIT
    (
        echo "$BASHPID" > "$cgroup/cgroup.procs"
        SORTER_BOOT_INSIDE=1 exec unshare --mount --pid --cgroup --uts --ipc --net --propagation private \
            --fork --kill-child -- "$0" "$root" "$state"
    ) || true
    exit 0
fi

# /proc is still the one outside, and so is the PID in it.
read -r pid _ < /proc/self/stat
echo "$pid" > "$state/pid"

mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir -p "$root"/{usr,etc,opt,srv,proc,sys,dev,run,tmp,var/lib,var/log,root,home,old}
chmod 1777 "$root/tmp"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
mount --bind /usr "$root/usr"
mount -o remount,bind,ro "$root/usr"
mount --bind "$state/opt" "$root/opt"
mount --bind "$state/srv" "$root/srv"

# Of /etc only what programs need to start: no unit, account or configuration of the machine.
cp -a /etc/ld.so.cache /etc/nsswitch.conf "$root/etc/"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
cp -a "$state/etc/." "$root/etc/"

mount -t proc proc "$root/proc"
# This systemd must not set the kernel parameters of the machine it runs on.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root"/dev/{shm,pts}
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

hostname sorter-boot
cd "$root"
pivot_root . old
umount --lazy /old
rmdir /old
# `container` tells systemd that devices, kernel modules and the clock are not its own; setpriv makes sure.
exec setpriv --bounding-set -sys_module,-sys_time,-sys_rawio,-sys_boot -- env -i container=sorter-boot PATH=/usr/sbin:/usr/bin \
    /usr/lib/systemd/systemd --unit=sorter-boot.target --show-status=no --log-target=journal
