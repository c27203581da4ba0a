"""A launch from the ground up: what its regions need, then the missing nodes, until each of them answers."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError
from cloister.plan.budget import expect_going_on_within
from cloister.plan.observed import Node
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.end import removing
from cloister.providers.ec2.end.ending import end_instances
from cloister.providers.ec2.journal import Journal
from cloister.providers.ec2.launch import access, claim
from cloister.providers.ec2.launch.batches import Site, batches, machine_of
from cloister.providers.ec2.launch.launching import Launching, launch_batches, replay
from cloister.providers.ec2.launch.placement import ensured_placement_groups
from cloister.providers.ec2.launch.sites import Ground, ground, roles_by_region
from cloister.providers.ec2.launch.waiting import await_instances
from cloister.providers.ec2.launch.watching import Watch
from cloister.providers.ec2.lease import prolonging
from cloister.providers.ec2.money.prices import Prices, bill
from cloister.providers.ec2.money.quoting import expect_affordable
from cloister.providers.ec2.observing import (
    Instance,
    fitting,
    instances,
    living_ones,
    surplus,
)
from cloister.providers.ec2.tags import Identity
from cloister.providers.provider import NodeEvent, Report
from cloister.providers.record import claimed, cluster_folder

# A node that fails is replaced so many times.
_ROUNDS_MAX = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Founding:
    """`nodes` are all that the cluster is to have, each in its region; `clusters` is the folder of all.

    regions: in which something of it may be, from earlier launches too.
    """

    aws: Aws
    spec: ClusterSpec
    nodes: Sequence[Node]
    regions: Sequence[str]
    clusters: Path
    journal: Journal
    report: Report
    sleep: Callable[[float], None]


def found_cluster(founding: Founding) -> None:
    """Every node answers when this returns; ProviderError names those that never came."""
    spec, report = founding.spec, founding.report
    launching = _prepared(founding)
    replay(launching)
    missing = {node.name for node in founding.nodes}
    failed: Mapping[str, str] = {}
    for _ in range(_ROUNDS_MAX):
        gone, before = _fill(launching, founding.nodes, missing, report)
        watch = Watch(
            founding.aws, spec.name, launching.identity.uid, launching.sites, launching.wanted
        )
        arrived = await_instances(
            missing,
            watch.look,
            gone=gone,
            within_s=spec.ec2.boot_within,
            ready=lambda instance: report(
                NodeEvent(node=instance.name, kind="running", detail=_where(instance))
            ),
            slow=lambda name, why: report(NodeEvent(node=name, kind="launching", detail=why)),
            probed=spec.ssh.gateway is None,
        )
        failed = arrived.failed
        missing = set(failed)
        if not missing:
            break
        if not arrived.ready:
            _expect_none_of(before & missing, launching, failed)
        for name, why in sorted(failed.items()):
            report(NodeEvent(node=name, kind="failed", detail=f"{why}; it is replaced"))
        end_instances(
            founding.aws, spec.name, launching.sites, missing, lambda one: None, founding.sleep
        )
    _finish(launching, founding.regions)
    if failed:
        raise ProviderError(
            f"cluster {spec.name}: {len(failed)} nodes did not come up in {_ROUNDS_MAX} launches: "
            + "; ".join(f"{name}: {why}" for name, why in sorted(failed.items())),
            hint="`cloister launch` tries again, `cloister destroy` ends the others",
        )


def _expect_none_of(names: Iterable[str], launching: Launching, failed: Mapping[str, str]) -> None:
    """ProviderError if such nodes live: where none answers at all, it is the way to them that is broken."""
    found = living_ones(instances(launching.aws, launching.cluster.name, launching.sites))
    silent = sorted({instance.name for instance in found} & set(names))
    if silent:
        raise ProviderError(
            f"cluster {launching.cluster.name}: none of the nodes answers, {', '.join(silent)} of which"
            f" were there before: {failed[silent[0]]}",
            hint="nothing was ended. May this machine reach them? `cloister access show` says who may,"
            " `access refresh` lets it in; a firewall on the way may be closed for SSH",
        )


def _prepared(founding: Founding) -> Launching:
    """Everything but the instances: looked up first, then made."""
    aws, spec, report = founding.aws, founding.spec, founding.report
    roles = roles_by_region(founding.nodes)
    with ThreadPoolExecutor(len(roles) + 1) as pool:
        owner = pool.submit(lambda: aws.account)
        looking = pool.map(lambda region: ground(aws, spec, region, roles[region]), roles)
        ssh_from = access.networks(spec.ec2)
        prices = Prices(aws, founding.clusters.parent)
        expect_affordable(spec, founding.nodes, prices)
    grounds = list(looking)
    access.expect_room(founding.nodes, spec.ec2, ssh_from)

    def may_renew() -> None:
        """UsageError if the budget is against it that those who live go on for another lease."""
        going_on = living_ones(found := instances(aws, spec.name, founding.regions))
        now = time.time()
        paid = bill(prices, found, now, spec) if going_on and spec.ec2.budget.limits else None
        if paid is not None:
            until = now + spec.ec2.lease
            what = "another lease"
            expect_going_on_within(spec.ec2.budget, paid, now=now, until=until, what=what)

    identity, home_group = _claimed(founding, grounds[0], owner.result(), may_renew)
    # Whom the groups let in from other regions.
    living = living_ones(instances(aws, spec.name, roles) if len(roles) > 1 else [])

    def admit(base: Ground) -> str:
        """The group in a region, with its rules."""
        group = home_group
        if base is not grounds[0]:
            group = claim.ensured_group(
                aws, founding.journal, base.region, identity, vpc=base.vpc, sleep=founding.sleep
            )
        access.allow(aws, base.region, group, spec, ssh_from=ssh_from, living=living)
        return str(group["GroupId"])

    # One after the other: the regions share the cluster's key file.
    sites = {
        base.region: _site(founding, identity, base, roles[base.region], admit) for base in grounds
    }
    return Launching(
        aws=aws,
        journal=founding.journal,
        cluster=spec,
        identity=identity,
        sites=sites,
        wanted={node.name: node.region for node in founding.nodes},
        say=lambda text: report(NodeEvent(node=spec.name, kind="launching", detail=text)),
        sleep=founding.sleep,
    )


def _claimed(
    founding: Founding, home: Ground, account: str, may_renew: Callable[[], None]
) -> tuple[Identity, Mapping[str, object]]:
    """Who the cluster is, and its home region's group; recorded here before anything is made."""
    spec = founding.spec
    record = claimed(founding.clusters, spec, regions=founding.regions, account=account)
    wanted = Identity(
        name=spec.name,
        uid=record.uid,
        expires=int(time.time() + spec.ec2.lease),
        home=home.region,
        version=importlib.metadata.version("cloister"),
    )
    identity, group = claim.claim(
        founding.aws,
        founding.journal,
        wanted,
        vpc=home.vpc,
        may_renew=may_renew,
        sleep=founding.sleep,
    )
    claimed(founding.clusters, spec, uid=identity.uid)
    return identity, group


def _site(
    founding: Founding,
    identity: Identity,
    base: Ground,
    roles: Sequence[str],
    admit: Callable[[Ground], str],
) -> Site:
    aws, spec, entries = founding.aws, founding.spec, founding.journal
    folder = cluster_folder(founding.clusters, spec.name)
    # First: a machine that has another key is no member of this cluster, and changes none of its rules.
    key_pair = access.ensured_key(aws, entries, base.region, identity, folder, spec.ec2)
    group = admit(base)
    strategies = {role: machine_of(spec, role).placement for role in roles}
    return Site(
        region=base.region,
        vpc=base.vpc,
        groups=(group, *spec.ec2.security_groups),
        key_pair=key_pair,
        zones=base.zones,
        subnets=base.subnets,
        offered=base.offered,
        images=base.images,
        placement_groups=ensured_placement_groups(
            aws, entries, base.region, identity, {r: s for r, s in strategies.items() if s}
        ),
    )


def _fill(
    launching: Launching, nodes: Sequence[Node], missing: Iterable[str], report: Report
) -> tuple[set[str], set[str]]:
    """Launch those of the missing nodes of which there is no instance.

    The ids of instances that are gone, and the names of those that lived before.
    """
    name, wanted = launching.cluster.name, set(missing)
    there = instances(launching.aws, name, launching.sites)
    living = {instance.name for instance in fitting(living_ones(there), launching.wanted)}
    absent = [node for node in nodes if node.name in wanted and node.name not in living]
    for node in absent:
        report(NodeEvent(node=node.name, kind="launching"))
    launch_batches(launching, batches(absent))
    return {instance.id for instance in there if instance.is_gone}, living


def _finish(launching: Launching, regions: Sequence[str]) -> None:
    """End what exists twice or where it should not, schedule the end of the lease, and let the regions
    reach each other."""
    aws, spec = launching.aws, launching.cluster
    living = living_ones(instances(aws, spec.name, regions))
    unwanted = surplus(living, launching.wanted)
    removing.terminate(aws, unwanted, sleep=launching.sleep)
    kept = [instance for instance in living if instance not in unwanted]
    prolonging.schedule(aws, launching.identity, kept, spec.ec2.schedule_role, launching.say)
    if len(launching.sites) == 1:
        return
    ssh_from = access.networks(spec.ec2)
    for region in launching.sites:
        group = claim.described_group(aws, region, spec.name, launching.sites[region].vpc)
        if group is not None:
            access.allow(aws, region, group, spec, ssh_from=ssh_from, living=kept)


def _where(instance: Instance) -> str:
    return f"{instance.id} {instance.address} {instance.machine} in {instance.zone}"
