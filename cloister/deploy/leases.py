"""Prolonging a lease: written down first where launches read it, then on each node, then what each was told.

Killed at any moment, every node still ends: at the old time or at the new one. Extending or launching
again tells the nodes that have not been told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster import Cluster
from cloister.cluster.lifecycle import open_cluster
from cloister.cluster.lock import holding
from cloister.cluster.provided import only_on_ec2, provider_of
from cloister.errors import CloisterError, PartlyDone, UsageError
from cloister.plan.observed import EXPIRES, Node
from cloister.providers.provider import Leased
from cloister.transport.fanout import FanOut
from cloister.transport.links import Links
from cloister.transport.process import Outcome

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec

Say = Callable[[str], None]

_TOLD_WITHIN_S = 60.0


def extend(
    name: str | None,
    lasting_s: float | None,
    *,
    state: Path,
    spec: ClusterSpec | None = None,
    wait_s: float = 10.0,
    say: Say = lambda text: None,
) -> Cluster:
    """The cluster's nodes end so many seconds from now, by default as many as a new lease has.

    UsageError if that is sooner than they do already.
    """
    found = open_cluster(name, state=state, spec=spec, allow_dead=True)
    with holding(found.name, "cloister extend", state=state, wait_s=wait_s, say=say):
        provider = provider_of(found.name, state, spec)
        if not isinstance(provider, Leased):
            raise only_on_ec2("extend", f"cluster {found.name}")
        if lasting_s is None:
            lasting_s = provider.lease_s(found.name)
        expires = int(time.time() + lasting_s)
        if found.expires is not None and expires < found.expires:
            raise UsageError(
                f"the lease of cluster {found.name} ends later than that already:"
                f" {_moment(found.expires)}, not {_moment(expires)}",
                hint="`cloister destroy` ends it sooner",
            )
        provider.prolong(found.name, expires, say)
        cluster = open_cluster(found.name, state=state, spec=spec, allow_dead=True)
        with Links(marks=cluster.marks) as links:
            tell(links, cluster, provider, expires)
        return cluster


def tell_of_lease(links: Links, cluster: Cluster, *, state: Path, spec: ClusterSpec) -> None:
    """Nodes that a lease was prolonged without, by a killed `extend` or by a launch near its end."""
    provider = provider_of(cluster.name, state, spec)
    if isinstance(provider, Leased) and cluster.expires is not None:
        tell(links, cluster, provider, cluster.expires)


def tell(links: Links, cluster: Cluster, provider: Leased, expires: int) -> None:
    """Each node that ends sooner is told; PartlyDone or CloisterError names those that cannot be."""
    untold = [node for node in cluster.nodes if _ends(node) < expires]
    if not untold:
        return
    command, script = provider.tell(expires)
    result = links.run(untold, command, stdin=script, timeout_s=_TOLD_WITHIN_S)
    provider.mark_told(
        cluster.name, [name for name, outcome in result.values.items() if outcome.ok], expires
    )
    _expect_told(cluster, untold, result)


def _expect_told(cluster: Cluster, untold: Sequence[Node], result: FanOut[Outcome]) -> None:
    why = {name: str(error) for name, error in result.errors.items()}
    why |= {
        name: f"{name}: {outcome} {outcome.stderr.decode('utf-8', 'replace').strip()}"
        for name, outcome in result.values.items()
        if not outcome.ok
    }
    if not why:
        return
    lines = [f"    {why[n.name]}; it ends {_moment(_ends(n))}" for n in untold if n.name in why]
    kind = PartlyDone if len(why) < len(cluster.nodes) else CloisterError
    raise kind(
        f"cluster {cluster.name}: {len(why)} of {len(cluster.nodes)} nodes were not told of the longer lease:\n"
        + "\n".join(lines),
        hint="`cloister extend` again tells them",
    )


def _ends(node: Node) -> int:
    end = node.labels.get(EXPIRES, 0)
    return end if isinstance(end, int) else 0


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
