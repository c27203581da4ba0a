"""Nodes that are EC2 instances; the truth is the tags on them, files here are a convenience."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import ValidationError

from cloister.config.ec2_spec import Ec2Spec
from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError, UsageError
from cloister.plan.access import Access
from cloister.plan.actions import Plan, Remove
from cloister.plan.budget import expect_going_on_within, expect_launch_within
from cloister.plan.garbage import Belonging, Holdings
from cloister.plan.images import ImageSource, ObservedImages, OwnImage, Pruning, ami_tags
from cloister.plan.listed import Listed, Listing
from cloister.plan.observed import Bill, Node, Observed, ObservedNode
from cloister.plan.planned import planned_nodes
from cloister.providers.ec2 import (
    access,
    baking,
    claim,
    journal,
    lease,
    rehearsing,
    removing,
    swap,
    sweeping,
)
from cloister.providers.ec2.api import Aws, Credentials
from cloister.providers.ec2.batches import Site, batches, machine_of
from cloister.providers.ec2.launching import Launching, launch_batches, replay
from cloister.providers.ec2.listing import Holding, joined, of_account
from cloister.providers.ec2.observing import (
    Instance,
    Thing,
    all_regions,
    instances,
    observed,
    regions_with,
    surplus,
    things,
)
from cloister.providers.ec2.own_images import observed_images, remove_images
from cloister.providers.ec2.placement import ensured_placement_groups
from cloister.providers.ec2.prices import Prices, bill
from cloister.providers.ec2.quoting import hourly, quote
from cloister.providers.ec2.schedules import schedules
from cloister.providers.ec2.sites import Ground, ground, roles_by_region
from cloister.providers.ec2.sources import source
from cloister.providers.ec2.tags import Identity
from cloister.providers.ec2.userdata import TELL, lease_script
from cloister.providers.ec2.waiting import await_instances
from cloister.providers.ec2.watching import Watch
from cloister.providers.provider import Checked, NodeEvent, Report, Swaps
from cloister.providers.record import claimed, cluster_folder, forget, read_record
from cloister.providers.removing import remove_tree

# A node that fails is replaced so many times.
_ROUNDS_MAX = 3
# A group cannot go before everything that uses it, also what AWS does not show yet.
_REMOVE_WITHIN_S = 600.0
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ec2Provider:
    """`clusters` is the folder of all clusters' folders; `spec` is needed only to launch."""

    clusters: Path
    spec: ClusterSpec | None = None
    sleep: Callable[[float], None] = time.sleep
    # Profile and region → its clients: making one takes longer than a call.
    _known: dict[tuple[str | None, str | None], Aws] = dataclasses.field(default_factory=dict)

    def observe(self, name: str, *, everywhere: bool = False) -> Observed:
        """In the regions that the configuration or the record names, or in all of the account."""
        folder = cluster_folder(self.clusters, name)
        spec = self.spec or _recorded(folder)
        aws = self._aws(spec)
        regions = _everywhere(aws, name, spec) if everywhere else _regions(aws, name, spec)
        look = _all_things if everywhere else things
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(look, aws, name, regions)
            found = instances(aws, name, regions)
        rest = asking.result()
        return self._seen(name, spec, found, rest)

    def _seen(
        self,
        name: str,
        spec: ClusterSpec | None,
        found: Sequence[Instance],
        rest: Sequence[Thing],
    ) -> Observed:
        folder = cluster_folder(self.clusters, name)
        key = folder / access.KEY_FILE
        own = str(key) if key.exists() else (spec.ssh.key if spec else None)
        seen = observed(name, found, rest, key=own)
        record = read_record(folder)
        if record is not None and not seen.exists:
            seen = dataclasses.replace(seen, uid=record.uid)
        elif record is None and folder.exists():
            # A launch was killed before it had written its record, or a destroy after it had removed it.
            seen = dataclasses.replace(seen, leftovers=(*seen.leftovers, str(folder)))
        return _as_configured(seen, spec)

    def apply(self, plan: Plan, report: Report) -> None:
        folder = cluster_folder(self.clusters, plan.cluster)
        spec = self.spec or _recorded(folder)
        aws = self._aws(spec)
        if plan.removes_cluster:
            self._remove_cluster(aws, plan, folder, report)
            return
        if plan.removals:
            self._remove_nodes(aws, spec, plan, report)
        if plan.launches or plan.kept:
            entries = journal.Journal(folder / journal.FILE)
            try:
                self._launch(aws, entries, folder, report)
            except Credentials as error:
                done = f"Done before that: {entries.done or 'nothing'}."
                raise Credentials(f"{error.message} {done}", hint=error.hint) from None

    def listing(self, names: Sequence[str], *, own: bool = True) -> Listing:
        specs = {name: _recorded(cluster_folder(self.clusters, name)) for name in names}
        accounts: dict[str | None, list[str]] = {_profile(self.spec): []} if own else {}
        for name, spec in specs.items():
            accounts.setdefault(_profile(spec), []).append(name)
        found = [
            (known, self._account(profile, {name: specs[name] for name in known}))
            for profile, known in accounts.items()
        ]
        return joined(found)

    def _account(self, profile: str | None, known: Mapping[str, ClusterSpec | None]) -> Listing:
        """The clusters of one account: those that are known here, and all others."""
        own = {self.spec.name: self.spec} if self.spec and _profile(self.spec) == profile else {}
        specs = {**own, **known}
        aws = self._aws(next(iter(specs.values()), None))
        prices = Prices(aws, self.clusters.parent)

        def where(name: str) -> list[str]:
            spec = specs[name]
            return _regions(aws, name, spec) if spec else []

        return of_account(
            aws, known, where, lambda name, held: self._listed(name, specs.get(name), held, prices)
        )

    def _listed(self, name: str, spec: ClusterSpec | None, held: Holding, prices: Prices) -> Listed:
        seen = self._seen(name, spec, held.instances, held.things)
        # Clusters that were destroyed a moment ago still show instances, whose prices nobody wants.
        paid = bill(prices, held.instances, time.time()) if seen.exists else None
        return Listed(observed=seen, bill=paid, regions=held.regions)

    def bill(self, name: str) -> Bill | None:
        spec = self.spec or _recorded(cluster_folder(self.clusters, name))
        aws = self._aws(spec)
        found = instances(aws, name, _everywhere(aws, name, spec))
        return bill(Prices(aws, self.clusters.parent), found, time.time())

    def expect_within_budget(self, name: str, *, until: float, what: str) -> None:
        spec = self.spec or _recorded(cluster_folder(self.clusters, name))
        if spec is None or not spec.ec2.budget.limits:
            return
        paid = self.bill(name)
        if paid is not None:
            expect_going_on_within(spec.ec2.budget, paid, now=time.time(), until=until, what=what)

    # --- the lease -------------------------------------------------------------------------------

    def lease_s(self, name: str) -> float:
        spec = self.spec or _recorded(cluster_folder(self.clusters, name))
        return spec.ec2.lease if spec else Ec2Spec().lease

    def prolong(self, name: str, expires: int, say: Callable[[str], None]) -> None:
        self.expect_within_budget(name, until=expires, what="the longer lease")
        aws, spec, regions = self._known_of(name)
        living = _living(instances(aws, name, regions))
        rest = things(aws, name, regions)
        lease.prolong(aws, name, living, rest, expires, role=_role(spec), say=say)

    def tell(self, expires: int) -> tuple[str, bytes]:
        return TELL, lease_script(expires).encode()

    def mark_told(self, name: str, nodes: Iterable[str], expires: int) -> None:
        aws, _, regions = self._known_of(name)
        told = set(nodes)
        living = _living(instances(aws, name, regions))
        lease.mark(aws, [i for i in living if i.name in told], expires)

    def _known_of(self, name: str) -> tuple[Aws, ClusterSpec | None, list[str]]:
        spec = self.spec or _recorded(cluster_folder(self.clusters, name))
        aws = self._aws(spec)
        return aws, spec, _regions(aws, name, spec)

    def quote(self, plan: Plan) -> list[str]:
        if self.spec is None:
            raise ValueError("an EC2 provider without a specification cannot launch")
        aws = self._aws(self.spec)
        launches = {launch.name for launch in plan.launches}
        nodes = [n for n in self._nodes(aws, self.spec) if n.name in launches]
        return quote(aws, self.spec, nodes, Prices(aws, self.clusters.parent)) if nodes else []

    def rehearse(self) -> list[Checked]:
        if self.spec is None:
            raise ValueError("an EC2 provider without a specification cannot rehearse a launch")
        spec, aws = self.spec, self._aws(self.spec)
        version = importlib.metadata.version("cloister")
        return rehearsing.checkup(aws, spec, lambda: self._nodes(aws, spec), version)

    def _nodes(self, aws: Aws, spec: ClusterSpec) -> list[Node]:
        """As planned, each in its region."""
        return [_placed(node, aws) for node in planned_nodes(spec)]

    def _aws(self, spec: ClusterSpec | None) -> Aws:
        key = (spec.ec2.profile, spec.ec2.region) if spec else (None, None)
        if key not in self._known:
            self._known[key] = Aws(profile=key[0], region=key[1], sleep=self.sleep)
        return self._known[key]

    # --- images ----------------------------------------------------------------------------------

    def image_regions(self, *, everywhere: bool = False) -> list[str]:
        aws = self._aws(self.spec)
        if everywhere:
            return all_regions(aws)
        return _regions(aws, self.spec.name, self.spec) if self.spec else [aws.region]

    def image_source(self, instance: str, region: str | None = None) -> ImageSource:
        regions = [region] if region else self.image_regions()
        return source(self._aws(self.spec), regions, instance)

    def bake(
        self,
        source: ImageSource,
        prefix: str,
        *,
        reboot: bool,
        anew: bool,
        say: Callable[[str], None],
    ) -> OwnImage:
        return baking.bake(
            self._aws(self.spec),
            self.clusters.parent,
            source,
            prefix,
            reboot=reboot,
            anew=anew,
            say=say,
            sleep=self.sleep,
        )

    def images(self, regions: Sequence[str]) -> list[ObservedImages]:
        prefixes = ami_tags(self.spec) if self.spec else []
        return observed_images(self._aws(self.spec), regions, prefixes)

    def prune(self, chosen: Pruning) -> None:
        remove_images(self._aws(self.spec), chosen, self.sleep)

    # --- what nobody needs -----------------------------------------------------------------------

    def holdings(self, regions: Sequence[str]) -> Holdings:
        aws = self._aws(self.spec)
        return sweeping.look_at(aws, list(regions) or all_regions(aws))

    def sweep(
        self,
        chosen: Sequence[Belonging],
        images: Sequence[Pruning],
        removed: Callable[[Belonging], None],
    ) -> list[str]:
        aws = self._aws(self.spec)
        left = sweeping.remove_all(aws, chosen, removed=removed, sleep=self.sleep)
        why = [str(thing) for thing in left]
        for pruning in images:
            try:
                remove_images(aws, pruning, self.sleep)
            except ProviderError as error:
                why.append(error.message)
        return why

    # --- swap ------------------------------------------------------------------------------------

    def attach_swap(self, name: str, say: Callable[[str], None]) -> Swaps:
        aws, spec, regions = self._known_of(name)
        living = _living(instances(aws, name, regions))
        wanted = swap.wanted(spec, living)
        if spec is None or not wanted:
            raise UsageError(
                f"cluster {name}: no role that has nodes has swap",
                hint="write, for example: roles: {workers: {count: 2, swap: 8}}, and name the file with -c",
            )
        folder = cluster_folder(self.clusters, name)
        if read_record(folder) is None:
            claimed(self.clusters, spec, uid=swap.uid_of(wanted))
        return swap.attach_all(
            aws,
            journal.Journal(folder / journal.FILE),
            name,
            wanted,
            living=living,
            version=importlib.metadata.version("cloister"),
            say=say,
            sleep=self.sleep,
        )

    # --- access ----------------------------------------------------------------------------------

    def access(self, name: str) -> list[Access]:
        aws, _, regions = self._known_of(name)
        return access.shown(aws, name, regions)

    def refresh_access(self, name: str) -> list[Access]:
        folder = cluster_folder(self.clusters, name)
        before = _recorded(folder)
        spec = self.spec or before
        if spec is None:
            raise UsageError(
                f"cluster {name}: nothing here says who may reach it",
                hint="name its configuration with -c",
            )
        aws = self._aws(before or spec)
        regions = list(
            dict.fromkeys([*_regions(aws, name, before or spec), *_regions(aws, name, spec)])
        )
        living = _living(instances(aws, name, regions))
        made = access.refresh(aws, name, regions, spec, living)
        if before is not None:
            # Refreshed again without a configuration, it stays like this.
            changes = {"access": spec.ec2.access, "expose": spec.ec2.expose}
            kept = before.model_copy(update={"ec2": before.ec2.model_copy(update=changes)})
            claimed(self.clusters, kept)
        return made

    # --- launching -------------------------------------------------------------------------------

    def _launch(self, aws: Aws, entries: journal.Journal, folder: Path, report: Report) -> None:
        if self.spec is None:
            raise ValueError("an EC2 provider without a specification cannot launch")
        spec = self.spec
        nodes = self._nodes(aws, spec)
        launching = self._prepared(aws, spec, nodes, entries, folder, report)
        replay(launching)
        missing = {node.name for node in nodes}
        failed: Mapping[str, str] = {}
        for _ in range(_ROUNDS_MAX):
            gone = self._fill(launching, nodes, missing, report)
            watch = Watch(aws, spec.name, launching.identity.uid, launching.sites)
            arrived = await_instances(
                missing,
                watch.look,
                gone=gone,
                within_s=spec.ec2.boot_within,
                ready=lambda instance: report(
                    NodeEvent(node=instance.name, kind="running", detail=_where(instance))
                ),
            )
            failed = arrived.failed
            missing = set(failed)
            if not missing:
                break
            for name, why in sorted(failed.items()):
                report(NodeEvent(node=name, kind="failed", detail=f"{why}; it is replaced"))
            self._end(aws, spec.name, launching.sites, missing, lambda instance: None)
        self._finish(launching)
        if failed:
            raise ProviderError(
                f"cluster {spec.name}: {len(failed)} nodes did not come up in {_ROUNDS_MAX} launches: "
                + "; ".join(f"{name}: {why}" for name, why in sorted(failed.items())),
                hint="`cloister launch` tries again, `cloister destroy` ends the others",
            )

    def _prepared(
        self,
        aws: Aws,
        spec: ClusterSpec,
        nodes: Sequence[Node],
        entries: journal.Journal,
        folder: Path,
        report: Report,
    ) -> Launching:
        """Everything but the instances: looked up first, then made."""
        roles = roles_by_region(nodes)
        with ThreadPoolExecutor(len(roles)) as pool:
            looking = pool.map(lambda r: ground(aws, spec, r, roles[r]), roles)
            ssh_from = access.networks(spec.ec2)
            prices = Prices(aws, self.clusters.parent)
            expect_launch_within(spec.ec2.budget, spec.ec2.lease, *hourly(spec, nodes, prices))
        grounds = list(looking)
        uid = claimed(self.clusters, spec).uid
        version = importlib.metadata.version("cloister")
        home = grounds[0]
        wanted = Identity(
            name=spec.name, uid=uid, expires=int(time.time() + spec.ec2.lease), home=home.region
        )
        identity, home_group = claim.claim(
            aws, entries, wanted, vpc=home.vpc, version=version, sleep=self.sleep
        )
        claimed(self.clusters, spec, uid=identity.uid)

        # Whom the groups let in from other regions.
        living = _living(instances(aws, spec.name, roles) if len(roles) > 1 else [])

        def admit(base: Ground) -> str:
            """The group in a region, with its rules."""
            group = home_group
            if base is not home:
                group = claim.ensured_group(
                    aws,
                    entries,
                    base.region,
                    identity,
                    vpc=base.vpc,
                    version=version,
                    sleep=self.sleep,
                )
            access.allow(aws, base.region, group, spec, ssh_from=ssh_from, living=living)
            return str(group["GroupId"])

        def site(base: Ground) -> Site:
            # At the same time: each is a way to AWS and back, or two.
            with ThreadPoolExecutor(1) as pool:
                admitting = pool.submit(admit, base)
                key_pair = access.ensured_key(
                    aws, entries, base.region, identity, folder, spec.ec2, version
                )
            return Site(
                region=base.region,
                vpc=base.vpc,
                groups=(admitting.result(), *spec.ec2.security_groups),
                key_pair=key_pair,
                zones=base.zones,
                subnets=base.subnets,
                offered=base.offered,
                images=base.images,
                placement_groups=ensured_placement_groups(
                    aws,
                    entries,
                    base.region,
                    identity,
                    _strategies(spec, roles[base.region]),
                    version,
                ),
            )

        # One after the other: the regions share the cluster's key file.
        sites = {base.region: site(base) for base in grounds}
        return Launching(
            aws=aws,
            journal=entries,
            cluster=spec,
            identity=identity,
            sites=sites,
            version=version,
            say=lambda text: report(NodeEvent(node=spec.name, kind="launching", detail=text)),
            sleep=self.sleep,
        )

    def _fill(
        self, launching: Launching, nodes: Sequence[Node], missing: Iterable[str], report: Report
    ) -> set[str]:
        """Launch those of the missing nodes of which there is no instance; the ids of those that are gone."""
        name, wanted = launching.cluster.name, set(missing)
        there = instances(launching.aws, name, launching.sites)
        living = {instance.name for instance in there if not instance.is_gone}
        absent = [node for node in nodes if node.name in wanted and node.name not in living]
        for node in absent:
            report(NodeEvent(node=node.name, kind="launching"))
        launch_batches(launching, batches(absent))
        return {instance.id for instance in there if instance.is_gone}

    def _finish(self, launching: Launching) -> None:
        """End what exists twice, and let the regions reach each other."""
        aws, spec = launching.aws, launching.cluster
        living = _living(instances(aws, spec.name, launching.sites))
        double = surplus(living)
        removing.terminate(aws, double, sleep=self.sleep)
        kept = [instance for instance in living if instance not in double]
        lease.schedule(aws, launching.identity, kept, _role(spec), launching.say)
        if len(launching.sites) == 1:
            return
        ssh_from = access.networks(spec.ec2)
        for region in launching.sites:
            group = claim.described_group(aws, region, spec.name, launching.sites[region].vpc)
            if group is not None:
                access.allow(aws, region, group, spec, ssh_from=ssh_from, living=living)

    # --- removing --------------------------------------------------------------------------------

    def _remove_nodes(self, aws: Aws, spec: ClusterSpec | None, plan: Plan, report: Report) -> None:
        _announce(plan.removals, report)
        names = {removal.name for removal in plan.removals}
        self._end(aws, plan.cluster, _regions(aws, plan.cluster, spec), names, _removed(report))

    def _end(
        self,
        aws: Aws,
        cluster: str,
        regions: Iterable[str],
        names: set[str] | None,
        ended: Callable[[Instance], None],
    ) -> list[Instance]:
        """End the instances of these nodes, or all, and wait until they have ended; those that there were."""
        where = list(regions)
        found = instances(aws, cluster, where)
        ours = [i for i in found if names is None or i.name in names]
        removing.terminate(aws, ours, sleep=self.sleep)
        ids = [i.id for i in ours if i.state != "terminated"]
        removing.await_ended(
            lambda: instances(aws, cluster, where), ids, ended=ended, sleep=self.sleep
        )
        return ours

    def _remove_cluster(self, aws: Aws, plan: Plan, folder: Path, report: Report) -> None:
        """In all regions: instances, then what they used; the files here go last."""
        _announce(plan.removals, report)
        entries = journal.Journal(folder / journal.FILE)
        journalled = [intent.region for intent in entries.recent_intents]
        known = _everywhere(aws, plan.cluster, _recorded(folder))
        regions = list(dict.fromkeys([*known, *journalled]))
        seen, removed = removing.Seen(), set[Thing]()
        if any(intent.action == swap.CREATE for intent in entries.recent_intents):
            # Those that are attached go with their instances, and would be missed later.
            seen.note((), things(aws, plan.cluster, regions, attached=True))
        ends_at = time.monotonic() + _REMOVE_WITHIN_S
        pause_s = _FIRST_PAUSE_S
        while True:
            ended = self._end(aws, plan.cluster, regions, None, _removed(report))
            rest = _all_things(aws, plan.cluster, regions, attached=True)
            seen.note(ended, rest)
            left = [thing for thing in rest if not removing.remove(aws, thing, removed)]
            if (
                not left
                and not _all_things(aws, plan.cluster, regions, attached=True)
                and not seen.missing(entries.recent_intents)
            ):
                break
            users = [
                f"{thing} by {user}"
                for thing in left
                for user in removing.foreign_users(aws, thing)
            ]
            if users or time.monotonic() > ends_at:
                raise ProviderError(
                    f"still in use: {', '.join(users or map(str, left))}",
                    hint="that is not cloister's, which leaves it alone; take it out, then `cloister destroy` again",
                )
            self.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)
        if folder.is_dir():
            for path in folder.iterdir():
                if path.name != "cluster.json":
                    remove_tree(path)
            forget(folder)
            remove_tree(folder)


def _all_things(
    aws: Aws, name: str, regions: Sequence[str], *, attached: bool = False
) -> list[Thing]:
    """Schedules too, for which another service has to be asked: only a destroy needs to know."""
    found = things(aws, name, regions, attached=attached)
    return [*found, *schedules(aws, name, regions)]


def _everywhere(aws: Aws, name: str, spec: ClusterSpec | None) -> list[str]:
    """Where the cluster should be, and where else something carries its tag."""
    found = regions_with(aws, name, all_regions(aws))
    return list(dict.fromkeys([*(_regions(aws, name, spec) if spec else ()), *found]))


def _regions(aws: Aws, name: str, spec: ClusterSpec | None) -> list[str]:
    if spec is None:
        return regions_with(aws, name, all_regions(aws))
    named = [region for role in spec.roles.values() for region in role.regions or ()]
    return list(dict.fromkeys([spec.ec2.region or aws.region, *named]))


def _recorded(folder: Path) -> ClusterSpec | None:
    record = read_record(folder)
    if record is None:
        return None
    try:
        return ClusterSpec.model_validate(record.spec)
    except ValidationError:
        # Written by another version: the tags are enough.
        return None


def _living(found: Iterable[Instance]) -> list[Instance]:
    return [instance for instance in found if not instance.is_gone]


def _profile(spec: ClusterSpec | None) -> str | None:
    return spec.ec2.profile if spec else None


def _role(spec: ClusterSpec | None) -> str | None:
    return spec.ec2.schedule_role if spec else None


def _placed(node: Node, aws: Aws) -> Node:
    return node if node.region else dataclasses.replace(node, region=aws.region)


def _as_configured(seen: Observed, spec: ClusterSpec | None) -> Observed:
    """What the tags do not say of a node is as it was configured."""
    if spec is None:
        return seen
    planned = {node.name: node for node in planned_nodes(spec)}

    def known(entry: ObservedNode) -> ObservedNode:
        node = planned.get(entry.node.name)
        if node is None:
            return entry
        return dataclasses.replace(
            entry,
            node=dataclasses.replace(
                entry.node,
                port=node.port,
                gateway=node.gateway,
                connect_timeout_s=node.connect_timeout_s,
                work_folder=node.work_folder,
            ),
        )

    return dataclasses.replace(seen, nodes=tuple(known(entry) for entry in seen.nodes))


def _strategies(spec: ClusterSpec, roles: Iterable[str]) -> dict[str, str]:
    found = {role: machine_of(spec, role).placement for role in roles}
    return {role: strategy for role, strategy in found.items() if strategy}


def _where(instance: Instance) -> str:
    return f"{instance.id} {instance.address} {instance.machine} in {instance.zone}"


def _announce(removals: Sequence[Remove], report: Report) -> None:
    for removal in removals:
        report(NodeEvent(node=removal.name, kind="removing", detail=removal.reason))


def _removed(report: Report) -> Callable[[Instance], None]:
    return lambda instance: report(NodeEvent(node=instance.name, kind="removed"))
