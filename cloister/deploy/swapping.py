"""Swap on nodes: a volume each from the provider, then made and switched on over SSH."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.lifecycle import open_cluster
from cloister.cluster.lock import holding
from cloister.cluster.provided import only_on_ec2, provider_of
from cloister.errors import CloisterError, NodeError
from cloister.plan.observed import Node
from cloister.providers.provider import Swapping
from cloister.transport.fanout import fan_out
from cloister.transport.links import Links

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

Say = Callable[[str], None]

_WITHIN_S = 120.0
_AS_ROOT = 'if [ "$(id -u)" = 0 ]; then exec sh -c "$@"; else exec sudo -n sh -c "$@"; fi'
# $1: the volume's id without its dash, which Nitro machines show as the disk's serial number; older ones
# name the disk as it was attached.  $2: /dev.
# https://docs.aws.amazon.com/ebs/latest/userguide/identify-nvme-ebs-device.html
# What is on a disk already is never written over.
SWITCH_ON = """
PATH=$PATH:/usr/sbin:/sbin
n=0
while :; do
  for d in "$2/disk/by-id/nvme-Amazon_Elastic_Block_Store_$1" "$2/sdf" "$2/xvdf"; do
    [ ! -e "$d" ] || break 2
  done
  n=$((n + 1))
  [ $n -lt 60 ] || { echo "no disk appeared for volume $1" >&2; exit 1; }
  sleep 0.5
done
d=$(readlink -f "$d")
! swapon --show=NAME --noheadings | grep -qxF "$d" || exit 0
k=$(blkid -p -s TYPE -s PTTYPE -o value "$d")
case $k in
swap) ;;
'') mkswap "$d" >/dev/null || exit 1 ;;
*) echo "$d is not empty: $k" >&2; exit 1 ;;
esac
exec swapon "$d"
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwappedOn:
    """Node → GiB asked for, and volume; `on` are the nodes that use it now."""

    gib: Mapping[str, int]
    volumes: Mapping[str, str]
    on: tuple[str, ...]
    errors: Mapping[str, CloisterError]


def attach_swap(
    name: str | None,
    *,
    state: Path,
    spec: ClusterSpec | None = None,
    wait_s: float = 10.0,
    say: Say = lambda text: None,
) -> SwappedOn:
    """Give each node of a role with `swap` its volume, and switch it on; again, it continues."""
    cluster = open_cluster(name, state=state, spec=spec, allow_dead=True)
    with holding(cluster.name, "cloister attach-swap", state=state, wait_s=wait_s, say=say):
        provider = provider_of(cluster.name, state, spec)
        if not isinstance(provider, Swapping):
            raise only_on_ec2("attach-swap", f"cluster {cluster.name}")
        swaps = provider.attach_swap(cluster.name, say)
        volumes = {node: swap.volume for node, swap in swaps.volumes.items()}
        nodes = [node for node in cluster.nodes if node.name in volumes]
        with Links(marks=cluster.marks) as links:
            failed = switch_on(links, nodes, volumes)
    errors = {**swaps.errors, **failed}
    return SwappedOn(
        gib={
            **{node: swap.gib for node, swap in swaps.volumes.items()},
            **dict.fromkeys(swaps.errors, 0),
        },
        volumes=volumes,
        on=tuple(node.name for node in nodes if node.name not in failed),
        errors=errors,
    )


def switch_on(
    links: Links, nodes: Sequence[Node], volumes: Mapping[str, str]
) -> Mapping[str, CloisterError]:
    """Make swap of each node's volume and use it; the errors of those where that failed."""

    def work(node: Node) -> None:
        serial = volumes[node.name].replace("-", "")
        command = ["/bin/sh", "-c", _AS_ROOT, "sh", SWITCH_ON, "sh", serial, "/dev"]
        outcome = links.channel(node).start(command, timeout_s=_WITHIN_S, once=True).wait()
        if not outcome.ok:
            words = outcome.stderr.decode("utf-8", "replace").strip()
            raise NodeError(node.name, f"switching on swap: {words or outcome}")

    return fan_out(nodes, work, at_once=links.at_once).errors
