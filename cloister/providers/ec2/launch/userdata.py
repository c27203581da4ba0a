"""How a node ends by itself: what it runs at its first boot, at every later one, and when its lease is prolonged."""

from __future__ import annotations

# A node whose clock is wrong ends after this many minutes, and not at once.
_MINUTES_IF_WRONG = 60
# What cloud-init runs at every boot, as a boot forgets a shutdown that was planned.
# https://cloudinit.readthedocs.io/en/latest/reference/modules.html#scripts-per-boot
_EVERY_BOOT = "/var/lib/cloud/scripts/per-boot"
# On a node: keeps its input as a file, since the script copies itself, and runs that as root.
TELL = (
    'f=$(mktemp) && cat >"$f" && chmod 755 "$f" || exit 1; '
    'if [ "$(id -u)" = 0 ]; then sh "$f"; else sudo -n sh "$f"; fi; s=$?; rm -f "$f"; exit $s'
)


def lease_script(expires: int) -> str:
    """The user data of a launch: first of all, the end of the lease. Run again, it replaces that end.

    The same text at every repetition of a launch, which is why it computes the minutes on the node.

    expires: Unix seconds.  The shutdown terminates the instance, as the launch call says.
    """
    left = f"( {expires} - $(date +%s) + 59 ) / 60"
    return (
        f"#!/bin/sh\nm=$(( {left} )); [ $m -gt 0 ] || m={_MINUTES_IF_WRONG}; shutdown -P +$m || exit 1\n"
        f"d={_EVERY_BOOT}; f=$d/cloister-lease\n"
        '[ ! -d $d ] || [ "$0" -ef $f ] || { cp "$0" $f && chmod 755 $f; }\n'
    )
