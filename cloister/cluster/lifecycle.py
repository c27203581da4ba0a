"""A cluster's life: launch, open, list, destroy; always observe → plan → apply → observe again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cluster.cluster import Cluster
from cloister.cluster.host_keys import key_known_to_user, pin, pinned
from cloister.cluster.lock import holding
from cloister.cluster.provided import kind_of, provider_of
from cloister.cluster.ssh_files import write_ssh_files
from cloister.cluster.state import clusters_folder
from cloister.durable import write_json
from cloister.errors import CloisterError, PartlyDone, ProviderError, UsageError
from cloister.plan.observed import Bill, Node, Observed, ObservedNode
from cloister.providers.nodes import node_to_json
from cloister.providers.provider import Paid, Provider, Report, provider_for
from cloister.providers.record import cluster_folder

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec
    from cloister.plan.actions import Plan

Say = Callable[[str], None]

_WAIT_S = 10.0
# Before each time that what is found is removed: AWS may show for a while what is gone.
_DESTROY_PAUSES_S = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
_SETTLE_S = 15.0
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.02, 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a destroy found, removed and left; `left` is empty, or `destroy` would have failed."""

    name: str
    provider: str
    found: tuple[str, ...]
    removed: tuple[str, ...]
    left: tuple[str, ...]
    took_s: float
    bill: Bill | None = None

    def describe(self) -> str:
        """For a person."""
        if not self.found:
            return f"{self.name}: nothing found, nothing left"
        verb = "forgot" if self.provider == "manual" else "removed"
        what = f"{len(self.found)} found, {len(self.removed)} {verb}, {len(self.left) or 'nothing'} left"
        lines = [f"{self.name}: {what}", *(f"  {verb} {name}" for name in self.removed)]
        if self.bill is not None:
            hours = (time.time() - self.bill.since) / 3600
            lines.append(f"  {hours:.2f} h, {dollars_text(self.bill.dollars)}")
        return "\n".join(lines)


def dollars_text(dollars: float | None) -> str:
    return "at a price that AWS does not tell" if dollars is None else f"${dollars:.4f}"


def observe(name: str, *, state: Path, spec: ClusterSpec | None = None) -> Observed:
    """What exists of the cluster; `spec` is for those that another machine launched."""
    return provider_of(name, state, spec).observe(name)


def quote(plan: Plan, spec: ClusterSpec, *, state: Path) -> list[str]:
    """What applying the plan would take and cost, in lines for a person; none where nothing is paid."""
    provider = provider_of(spec.name, state, spec)
    return provider.quote(plan) if isinstance(provider, Paid) else []


def launch(
    spec: ClusterSpec,
    *,
    state: Path,
    wait_s: float = _WAIT_S,
    report: Report = lambda event: None,
    say: Say = lambda text: None,
) -> Cluster:
    """Make what exists equal to the specification; whatever was left by a crash is continued.

    Busy when another command works on the cluster for longer than `wait_s`.
    """
    from cloister.plan.launching import launch_plan

    with holding(spec.name, "cloister launch", state=state, wait_s=wait_s, say=say):
        _expect_same_provider(spec, state)
        provider = provider_for(spec.provider, clusters_folder(state), spec)
        plan = launch_plan(spec, _settled(provider, spec.name))
        if not plan.actions:
            raise UsageError(
                f"cluster {spec.name}: the configuration asks for no nodes",
                hint="give cluster.roles a count, or cluster.nodes a list",
            )
        provider.apply(plan, report)
        # On EC2 a look may show what was, a moment ago.
        observed = _settled(provider, spec.name)
        cluster = _cluster(observed, state)
        if cluster.provider == "manual":
            cluster = _with_keys_of_user(cluster)
        _save(cluster)
        _expect_all(observed)
        return cluster


def destroy(
    name: str | None,
    *,
    state: Path,
    spec: ClusterSpec | None = None,
    provider: str | None = None,
    wait_s: float = _WAIT_S,
    report: Report = lambda event: None,
    say: Say = lambda text: None,
) -> Receipt:
    """Remove all of the cluster, as it is found; needs no configuration. Again and again, if need be.

    spec, provider: for clusters that another machine launched, of which nothing is known here.
    ProviderError if anything is left.
    """
    from cloister.plan.launching import destroy_plan

    name = _chosen(name, state)
    began = time.monotonic()
    with holding(name, "cloister destroy", state=state, wait_s=wait_s, say=say):
        removing = provider_of(name, state, spec, provider)
        observed = first = removing.observe(name, everywhere=True)
        for pause_s in _DESTROY_PAUSES_S:
            if not observed.exists:
                break
            if pause_s >= 1:
                say(f"still there of {name}: {_shown(observed)}; removed again in {pause_s:g} s")
            time.sleep(pause_s)
            removing.apply(destroy_plan(observed), report)
            observed = removing.observe(name, everywhere=True)
        # Afterwards, when AWS says when each of them ended.
        paid = removing.bill(name) if isinstance(removing, Paid) and first.exists else None
    left = _things(observed)
    if observed.exists:
        raise ProviderError(
            f"destroying cluster {name}: still there: {_shown(observed)}",
            hint="run destroy again; it removes what it finds",
        )
    found = _things(first)
    return Receipt(
        name=name,
        provider=first.provider,
        found=found,
        removed=tuple(thing for thing in found if thing not in left),
        left=left,
        took_s=time.monotonic() - began,
        bill=paid,
    )


def priced(cluster: Cluster, *, state: Path) -> Cluster:
    """With what its nodes cost per hour, for the records of what is measured on them."""
    provider = provider_of(cluster.name, state, kind=cluster.provider)
    paid = provider.bill(cluster.name) if isinstance(provider, Paid) else None
    return dataclasses.replace(cluster, dollars_per_hour=paid.dollars_per_hour if paid else None)


def expect_affordable(cluster: Cluster, lasting_s: float, what: str, *, state: Path) -> None:
    """UsageError if the cluster, going on for so long, could cost more than its budget."""
    provider = provider_of(cluster.name, state, kind=cluster.provider)
    if isinstance(provider, Paid):
        provider.expect_within_budget(cluster.name, until=time.time() + lasting_s, what=what)


def cluster_names(state: Path) -> list[str]:
    """Folders, and clusters whose folder somebody removed while their processes run on."""
    from cloister.providers.local.processes import all_processes, clusters_with_wardens

    folder = clusters_folder(state)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return sorted(names | clusters_with_wardens(folder, all_processes()))


def is_known(name: str, state: Path) -> bool:
    """Whether there is a record of it on this machine."""
    return kind_of(name, state) is not None


def open_cluster(
    name: str | None, *, state: Path, spec: ClusterSpec | None = None, allow_dead: bool = False
) -> Cluster:
    """The existing cluster of that name, or the only one; creates nothing.

    spec: for a cluster that another machine launched.  Dead nodes are an error that lists them, unless
    they are allowed: then they are in `dead`.
    """
    name = _chosen(name, state)
    observed = observe(name, state=state, spec=spec)
    if not observed.nodes:
        raise CloisterError(f"there is no cluster {name}", hint="`cloister launch` makes one")
    cluster = _cluster(observed, state)
    if cluster.dead and not allow_dead:
        _expect_all(observed)
    return cluster


def _chosen(name: str | None, state: Path) -> str:
    if name is not None:
        cluster_folder(clusters_folder(state), name)
        return name
    names = cluster_names(state)
    if len(names) == 1:
        return names[0]
    if not names:
        raise CloisterError("there is no cluster", hint="`cloister launch` makes one")
    raise UsageError(
        f"there are several clusters: {', '.join(names)}", hint="say which one with -l NAME"
    )


def _expect_same_provider(spec: ClusterSpec, state: Path) -> None:
    kind = kind_of(spec.name, state)
    if kind is not None and kind != spec.provider:
        raise UsageError(
            f"cluster {spec.name} exists with provider {kind}; the configuration says {spec.provider}",
            hint="destroy it first, or give this one another name",
        )


def _settled(provider: Provider, name: str) -> Observed:
    """After a launch that was killed, nodes may still be starting: each will run or be dead soon."""
    deadline = time.monotonic() + _SETTLE_S
    pause_s = _FIRST_PAUSE_S
    while True:
        observed = provider.observe(name)
        starting = any(entry.state == "starting" for entry in observed.nodes)
        if not starting or time.monotonic() > deadline:
            return observed
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, _PAUSE_S_MAX)


def _cluster(observed: Observed, state: Path) -> Cluster:
    folder = cluster_folder(clusters_folder(state), observed.name)
    return Cluster(
        name=observed.name,
        uid=observed.uid,
        provider=observed.provider,
        folder=folder,
        nodes=tuple(
            _with_pin(folder, entry.node) for entry in observed.nodes if entry.state != "dead"
        ),
        dead=tuple(entry for entry in observed.nodes if entry.state == "dead"),
        expires=observed.expires,
    )


def _with_pin(folder: Path, node: Node) -> Node:
    return dataclasses.replace(node, host_key=pinned(folder, node))


def _with_keys_of_user(cluster: Cluster) -> Cluster:
    """Hosts that the user has met before are not met for the first time by cloister."""
    nodes = []
    for node in cluster.nodes:
        key = node.host_key or key_known_to_user(node)
        if key and not node.host_key:
            pin(cluster.folder, node, key)
        nodes.append(dataclasses.replace(node, host_key=key))
    return dataclasses.replace(cluster, nodes=tuple(nodes))


def _save(cluster: Cluster) -> None:
    """For other programs; cloister itself observes anew each time."""
    try:
        write_json(cluster.folder / "nodes.json", [node_to_json(node) for node in cluster.nodes])
        write_ssh_files(cluster)
    except OSError as error:
        raise CloisterError(f"writing the files of cluster {cluster.name}: {error}") from error


def _expect_all(observed: Observed) -> None:
    dead = [entry for entry in observed.nodes if entry.state != "running"]
    if not dead:
        return
    hint = "`cloister launch` replaces dead nodes"
    if observed.provider == "manual":
        hint = "start these machines, or take them out of cluster.nodes"
    raise PartlyDone(
        f"cluster {observed.name}: {len(dead)} of {len(observed.nodes)} nodes are not running:\n"
        + "\n".join(f"    {_why(entry)}" for entry in dead),
        hint=hint,
    )


def _why(entry: ObservedNode) -> str:
    return f"{entry.node.name}: {entry.state}" + (f", {entry.detail}" if entry.detail else "")


def _shown(observed: Observed) -> str:
    return ", ".join(_things(observed)) or "its record"


def _things(observed: Observed) -> tuple[str, ...]:
    nodes = tuple(f"node {entry.node.name}" for entry in observed.nodes)
    record = (f"cluster {observed.name} ({observed.uid})",) if observed.uid else ()
    return nodes + observed.leftovers + record
