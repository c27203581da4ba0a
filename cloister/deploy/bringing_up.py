"""From a specification to a cluster whose nodes answer and know each other's names."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloister.cluster import Cluster
from cloister.cluster.host_keys import pin
from cloister.cluster.inventory import write_inventory
from cloister.cluster.lifecycle import launch
from cloister.config.spec import ClusterSpec
from cloister.deploy.leases import tell_of_lease
from cloister.errors import CloisterError, HostKeyChanged, NodeError, NoPython
from cloister.plan.observed import Node
from cloister.providers.provider import Report
from cloister.transport.fanout import fan_out
from cloister.transport.links import Links
from cloister.transport.transfer import put

READY_WITHIN_S = 120.0
# Of nodes that answered a moment ago.
COPIED_WITHIN_S = 30.0
_PAUSE_S = 0.5
# Below each node's work folder.
NAMES = "servers"

# Status 2 is an end with warnings. https://docs.cloud-init.io/en/latest/explanation/failure_states.html
_BOOTED = (
    "command -v cloud-init >/dev/null || exit 0; cloud-init status --wait >/dev/null; s=$?;"
    " [ $s = 0 ] || [ $s = 2 ] || { cloud-init status --long; exit 1; }"
)

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copied:
    """`files` are verified on `nodes`; the nodes of `errors` lack some."""

    files: tuple[str, ...]
    nodes: tuple[str, ...]
    errors: Mapping[str, CloisterError]


def bring_up(
    spec: ClusterSpec, *, state: Path, servers: Path, wait_s: float, report: Report, say: Say
) -> Cluster:
    """Launch, wait until every node's agent answers, write the names here and on the nodes.

    Calling it again continues: what is there and right is left as it is.
    """
    cluster = launch(spec, state=state, wait_s=wait_s, report=report, say=say)

    def pin_key(node: Node, key: str) -> None:
        pin(cluster.folder, node, key)
        say(f"{node.name}: host key pinned on first contact: {key.split()[0]} …{key[-16:]}")

    with Links(marks=cluster.marks, pin=pin_key) as links:
        await_nodes(links, cluster.nodes)
        if spec.provider == "ec2":
            await_boot(links, cluster.nodes, spec.ec2.boot_within)
        tell_of_lease(links, cluster, state=state, spec=spec)
        _copy(links, cluster, servers, say)
    return cluster


def await_nodes(links: Links, nodes: Sequence[Node], within_s: float = READY_WITHIN_S) -> None:
    """Until every node runs our agent; the error of those that do not in time, or never will."""

    def open_when_ready(node: Node) -> None:
        _again(links.channel, node, within_s, lambda text: None)

    fan_out(nodes, open_when_ready, at_once=links.at_once).raise_first()


def await_boot(links: Links, nodes: Sequence[Node], within_s: float) -> None:
    """Until cloud-init has done all that the image has it do; CloisterError for nodes where it failed."""
    result = links.run(nodes, _BOOTED, timeout_s=within_s)
    failed = {name: outcome for name, outcome in result.values.items() if not outcome.ok}
    if failed or result.errors:
        lines = [str(error) for error in result.errors.values()]
        lines += [
            f"{name}: {outcome}: {' '.join(outcome.stdout.decode('utf-8', 'replace').split())}"
            for name, outcome in failed.items()
        ]
        raise CloisterError(
            "these nodes answer, but have not booted to the end:\n"
            + "\n".join(f"    {line}" for line in lines),
            hint="`cloister login NODE`, then `cloud-init status --long`; `cloister launch` looks again",
        )


def copy_names(
    cluster: Cluster, *, servers: Path, say: Say, within_s: float = READY_WITHIN_S
) -> Copied:
    """Write the files with the nodes' names here and on every node, where they are verified.

    A node that cannot be reached, or where it fails, is tried again for so long.
    """
    with Links(marks=cluster.marks) as links:
        return _copied(links, cluster, servers, say, within_s)


def _copy(links: Links, cluster: Cluster, servers: Path, say: Say) -> None:
    copied = _copied(links, cluster, servers, say, COPIED_WITHIN_S)
    if copied.errors:
        raise CloisterError(
            "the names are not on every node:\n"
            + "\n".join(f"    {error}" for error in copied.errors.values()),
            hint="`cloister copy-dns` tries again",
        )


def _copied(links: Links, cluster: Cluster, servers: Path, say: Say, within_s: float) -> Copied:
    """The hash of each file is taken on the node after it was written there, and compared."""
    files = write_inventory(cluster, servers)

    def copy(node: Node) -> None:
        channel = links.channel(node)
        for path in files:
            put(channel, path, f"{NAMES}/{path.name}")

    def copy_in_the_end(node: Node) -> None:
        _again(copy, node, within_s, say)

    result = fan_out(cluster.nodes, copy_in_the_end, at_once=links.at_once)
    return Copied(
        files=tuple(path.name for path in files),
        nodes=tuple(result.values),
        errors=result.errors,
    )


def _again(work: Callable[[Node], object], node: Node, within_s: float, say: Say) -> None:
    """Until it succeeds, or time is up, or it never can; said once."""
    ends_at = time.monotonic() + within_s
    told = False
    while True:
        try:
            work(node)
            return
        except (HostKeyChanged, NoPython):
            raise
        except NodeError as error:
            if time.monotonic() + _PAUSE_S > ends_at:
                raise
            if not told:
                say(f"{error}; tried again for {within_s:g} s")
            told = True
        time.sleep(_PAUSE_S)
