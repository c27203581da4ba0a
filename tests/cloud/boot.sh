#!/bin/sh
# How a node starts: its own home, its user data, and an sshd when the simulation says so.
# $1 the node's folder, $2 "namespace" or "plain", $3 the folder of the guest's programs, $4 sshd
node=$1 programs=$3

if [ "$2" = namespace ]; then
    mount --bind "$node/home" "$CLOUD_HOME" || exit 1
    # Empty where a machine has no disks, such as a container.
    mkdir -p /dev/disk && mount --bind "$node/disk" /dev/disk
    # Whoever calls these by their full names would end this machine.
    for name in shutdown poweroff halt reboot systemctl; do
        for place in /usr/sbin /usr/bin; do
            real=$(readlink -f "$place/$name" 2>/dev/null) || continue
            [ ! -f "$real" ] || cmp -s "$real" "$programs/$name" || mount --bind "$programs/$name" "$real"
        done
    done
fi

cd "$HOME" || exit 1
if [ -e "$node/booted" ]; then
    :
elif [ -f "$node/user-data" ]; then
    (
        CLOUD_INIT=1 "$node/user-data" </dev/null >"$node/user-data.log" 2>&1
        echo $? >"$node/booted"
    ) &
else
    echo 0 >"$node/booted"
fi

# Ends with the server too: then there is nothing to read.
read -r _ || exit 0
exec "$4" -D -e -f "$node/sshd_config" </dev/null
