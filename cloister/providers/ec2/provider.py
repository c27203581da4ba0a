"""Nodes that are EC2 instances; the truth is the tags on them, files here are a convenience."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloister.config.ec2_spec import Ec2Spec
from cloister.config.spec import ClusterSpec
from cloister.errors import ProviderError, UsageError
from cloister.plan.access import Access
from cloister.plan.actions import Plan
from cloister.plan.budget import expect_going_on_within
from cloister.plan.garbage import Belonging, Holdings
from cloister.plan.images import ImageSource, ObservedImages, OwnImage, Pruning, ami_tags
from cloister.plan.listed import Listed, Listing
from cloister.plan.observed import Bill, Node, Observed, ObservedNode
from cloister.plan.planned import planned_nodes
from cloister.providers.ec2 import journal, places, swap
from cloister.providers.ec2.api import Aws, Credentials
from cloister.providers.ec2.end import sweeping
from cloister.providers.ec2.end.ending import all_things, end_cluster, end_nodes
from cloister.providers.ec2.image import baking
from cloister.providers.ec2.image.own_images import observed_images, remove_images
from cloister.providers.ec2.image.sources import source
from cloister.providers.ec2.launch import access
from cloister.providers.ec2.launch.founding import Founding, found_cluster
from cloister.providers.ec2.launch.userdata import TELL, lease_script
from cloister.providers.ec2.lease import prolonging
from cloister.providers.ec2.listing import Holding, joined, of_account
from cloister.providers.ec2.money.prices import Prices, bill
from cloister.providers.ec2.money.quoting import expect_affordable, quote
from cloister.providers.ec2.observing import (
    Instance,
    Thing,
    all_regions,
    groups,
    instances,
    living_ones,
    observed,
)
from cloister.providers.ec2.permission import rehearsing
from cloister.providers.provider import Checked, Report, Swaps
from cloister.providers.record import (
    ClusterRecord,
    claimed,
    cluster_folder,
    read_record,
    recorded_spec,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ec2Provider:
    """`clusters` is the folder of all clusters' folders; `spec` is needed only to launch."""

    clusters: Path
    spec: ClusterSpec | None = None
    sleep: Callable[[float], None] = time.sleep
    # Profile and region → its clients: making one takes longer than a call.
    _known: dict[tuple[str | None, str | None], Aws] = dataclasses.field(default_factory=dict)
    _recorded: dict[str, ClusterSpec] = dataclasses.field(default_factory=dict)
    # Cluster → where it was launched from elsewhere.
    _homes: dict[str, str | None] = dataclasses.field(default_factory=dict)
    _found_in: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    _removed: set[Thing] = dataclasses.field(default_factory=set)

    def observe(self, name: str, *, everywhere: bool = False) -> Observed:
        """In the regions that the configuration or the record names, or in all of the account.

        The former is a part of nearly every command: two calls for each region.
        """
        record = self._record(name)
        if everywhere:
            spec = self._spec_of(name)
            aws = self._aws(spec)
            before = self._found_in.get(name, ())
            there = places.everywhere(aws, name, spec, record)
            self._found_in[name] = regions = list(dict.fromkeys([*before, *there]))
        else:
            aws, spec, regions = self._known_of(name)
        look = all_things if everywhere else groups
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(look, aws, name, regions)
            found = instances(aws, name, regions)
        rest = asking.result()
        places.expect_same_account(aws, record, found)
        return self._seen(aws, name, spec, found, rest)

    def _seen(
        self,
        aws: Aws,
        name: str,
        spec: ClusterSpec | None,
        found: Sequence[Instance],
        rest: Sequence[Thing],
    ) -> Observed:
        folder = cluster_folder(self.clusters, name)
        key = folder / access.KEY_FILE
        own = str(key) if key.exists() else (spec.ssh.key if spec else None)
        region = (spec.ec2.region if spec else None) or aws.region
        seen = observed(name, found, rest, key=own, region=region)
        record = read_record(folder)
        if record is not None and not seen.exists:
            seen = dataclasses.replace(seen, uid=record.uid)
        elif record is None and folder.exists():
            # A launch was killed before it had written its record, or a destroy after it had removed it.
            seen = dataclasses.replace(seen, leftovers=(*seen.leftovers, str(folder)))
        return _as_configured(seen, spec)

    def apply(self, plan: Plan, report: Report) -> None:
        name = plan.cluster
        folder = cluster_folder(self.clusters, name)
        if plan.removes_cluster:
            aws = self._aws(self._spec_of(name))
            regions = self._all_regions_of(name)
            end_cluster(aws, plan, regions, folder, self._removed, report, self.sleep)
            return
        aws, _, regions = self._known_of(name)
        if plan.removals:
            end_nodes(aws, plan, regions, report, self.sleep)
        if plan.launches or plan.kept:
            self._launch(aws, folder, regions, report)

    def _launch(self, aws: Aws, folder: Path, regions: Sequence[str], report: Report) -> None:
        # The region too is recorded: another shell's AWS_REGION does not start a second cluster.
        spec = places.in_region(self._wanted, aws.region)
        entries = journal.Journal(folder / journal.FILE)
        founding = Founding(
            aws=aws,
            spec=spec,
            nodes=self._nodes(aws, spec),
            regions=regions,
            clusters=self.clusters,
            journal=entries,
            report=report,
            sleep=self.sleep,
        )
        try:
            found_cluster(founding)
        except Credentials as error:
            done = f"Done before that: {entries.done or 'nothing'}."
            raise Credentials(f"{error.message} {done}", hint=error.hint) from None

    def listing(self, names: Sequence[str], *, own: bool = True) -> Listing:
        specs = {name: recorded_spec(cluster_folder(self.clusters, name)) for name in names}
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
            return places.known_regions(aws, name, spec, self._record(name)) if spec else []

        return of_account(
            aws,
            known,
            where,
            lambda name, held: self._listed(aws, name, specs.get(name), held, prices),
        )

    def _listed(
        self, aws: Aws, name: str, spec: ClusterSpec | None, held: Holding, prices: Prices
    ) -> Listed:
        seen = self._seen(aws, name, spec, held.instances, held.things)
        # Clusters that were destroyed a moment ago still show instances, whose prices nobody wants.
        paid = bill(prices, held.instances, time.time(), spec) if seen.exists else None
        return Listed(observed=seen, bill=paid, regions=held.regions)

    def bill(self, name: str) -> Bill | None:
        spec = self._spec_of(name)
        aws = self._aws(spec)
        found = instances(aws, name, self._all_regions_of(name))
        return bill(Prices(aws, self.clusters.parent), found, time.time(), spec)

    def expect_within_budget(self, name: str, *, until: float, what: str) -> None:
        spec = self._spec_of(name)
        if spec is None or not spec.ec2.budget.limits:
            return
        paid = self.bill(name)
        if paid is not None:
            expect_going_on_within(spec.ec2.budget, paid, now=time.time(), until=until, what=what)

    # --- the lease -------------------------------------------------------------------------------

    def lease_s(self, name: str) -> float:
        spec = self._spec_of(name)
        return spec.ec2.lease if spec else Ec2Spec().lease

    def prolong(self, name: str, expires: int, say: Callable[[str], None]) -> None:
        self.expect_within_budget(name, until=expires, what="the longer lease")
        aws, spec, regions = self._known_of(name)
        living = living_ones(instances(aws, name, regions))
        told = groups(aws, name, regions)
        role = spec.ec2.schedule_role if spec else None
        prolonging.prolong(aws, name, living, told, expires, role=role, say=say)

    def tell(self, expires: int) -> tuple[str, bytes]:
        return TELL, lease_script(expires).encode()

    def mark_told(self, name: str, nodes: Iterable[str], expires: int) -> None:
        aws, _, regions = self._known_of(name)
        told = set(nodes)
        living = living_ones(instances(aws, name, regions))
        prolonging.mark(aws, [i for i in living if i.name in told], expires)

    # --- who is meant ----------------------------------------------------------------------------

    @property
    def _wanted(self) -> ClusterSpec:
        """For what needs a configuration."""
        spec = self._spec_of(self.spec.name) if self.spec else None
        if spec is None:
            raise ValueError("an EC2 provider without a specification cannot launch")
        return spec

    def _spec_of(self, name: str) -> ClusterSpec | None:
        """As configured, else as recorded; what a destroy goes on with when it has removed the record.

        A cluster stays in the region of its first launch where the configuration names none.
        """
        found = recorded_spec(cluster_folder(self.clusters, name))
        if found is not None:
            self._recorded[name] = found
        before = self._recorded.get(name)
        if self.spec is None:
            return before
        home = before.ec2.region if before else None
        return places.in_region(self.spec, home or self._homes.get(name))

    def _find_home(self, name: str) -> None:
        """Where another machine launched the cluster, if nothing here says in which region it is."""
        spec = self._spec_of(name)
        if spec is None or name in self._homes or all(n.region for n in planned_nodes(spec)):
            return
        self._homes[name] = places.home_region(self._aws(spec), name)

    def _record(self, name: str) -> ClusterRecord | None:
        return read_record(cluster_folder(self.clusters, name))

    def _all_regions_of(self, name: str) -> list[str]:
        """Wherever it is, or was when it was last looked for everywhere: that takes a call for each region."""
        if name in self._found_in:
            return self._found_in[name]
        spec = self._spec_of(name)
        return places.everywhere(self._aws(spec), name, spec, self._record(name))

    def _known_of(self, name: str) -> tuple[Aws, ClusterSpec | None, list[str]]:
        self._find_home(name)
        spec = self._spec_of(name)
        aws = self._aws(spec)
        return aws, spec, places.known_regions(aws, name, spec, self._record(name))

    def quote(self, plan: Plan) -> list[str]:
        spec = self._wanted
        aws = self._aws(spec)
        launches = {launch.name for launch in plan.launches}
        planned = self._nodes(aws, spec)
        nodes = [n for n in planned if n.name in launches]
        if not nodes:
            return []
        prices = Prices(aws, self.clusters.parent)
        lines = quote(aws, spec, nodes, prices)
        try:
            expect_affordable(spec, planned, prices)
        except UsageError as error:
            lines.append(f"  a launch is refused: {error.message}")
        return lines

    def rehearse(self) -> list[Checked]:
        spec = self._wanted
        aws = self._aws(spec)
        return rehearsing.checkup(aws, spec, lambda: self._nodes(aws, spec))

    def _nodes(self, aws: Aws, spec: ClusterSpec) -> list[Node]:
        """As planned, each in its region."""
        return [_placed(node, aws) for node in planned_nodes(spec)]

    @property
    def _own_aws(self) -> Aws:
        """As configured, or as AWS's own settings say."""
        return self._aws(self._wanted if self.spec else None)

    def _aws(self, spec: ClusterSpec | None) -> Aws:
        key = (spec.ec2.profile, spec.ec2.region) if spec else (None, None)
        if key not in self._known:
            self._known[key] = Aws(profile=key[0], region=key[1], sleep=self.sleep)
        return self._known[key]

    # --- images ----------------------------------------------------------------------------------

    def image_regions(self, *, everywhere: bool = False) -> list[str]:
        if everywhere:
            return all_regions(self._own_aws)
        return self._known_of(self.spec.name)[2] if self.spec else [self._own_aws.region]

    def image_source(self, instance: str, region: str | None = None) -> ImageSource:
        regions = [region] if region else self.image_regions()
        return source(self._own_aws, regions, instance)

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
            self._own_aws,
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
        return observed_images(self._own_aws, regions, prefixes)

    def prune(self, chosen: Pruning) -> None:
        remove_images(self._own_aws, chosen, self.sleep)

    # --- what nobody needs -----------------------------------------------------------------------

    def holdings(self) -> Holdings:
        aws = self._own_aws
        return sweeping.look_at(aws, all_regions(aws))

    def sweep(
        self,
        chosen: Sequence[Belonging],
        images: Sequence[Pruning],
        removed: Callable[[Belonging], None],
    ) -> list[str]:
        aws = self._own_aws
        left = sweeping.remove_all(aws, chosen, removed=removed, sleep=self.sleep)
        why = [f"{thing}: {reason}" for thing, reason in left.items()]
        for pruning in images:
            try:
                remove_images(aws, pruning, self.sleep)
            except ProviderError as error:
                why.append(error.message)
        return why

    # --- swap ------------------------------------------------------------------------------------

    def attach_swap(self, name: str, say: Callable[[str], None]) -> Swaps:
        aws, spec, regions = self._known_of(name)
        living = living_ones(instances(aws, name, regions))
        wanted = swap.wanted(spec, living)
        if spec is None or not wanted:
            raise UsageError(
                f"cluster {name}: no role that has nodes has swap",
                hint="write, for example: roles: {workers: {count: 2, swap: 8}}, and name the file with -c",
            )
        folder = cluster_folder(self.clusters, name)
        if self._record(name) is None:
            placed = places.in_region(spec, aws.region)
            claimed(self.clusters, placed, uid=swap.uid_of(wanted), regions=regions)
        return swap.attach_all(
            aws,
            journal.Journal(folder / journal.FILE),
            name,
            wanted,
            living=living,
            say=say,
            sleep=self.sleep,
        )

    # --- access ----------------------------------------------------------------------------------

    def access(self, name: str) -> list[Access]:
        aws, _, regions = self._known_of(name)
        return access.shown(aws, name, regions)

    def refresh_access(self, name: str) -> list[Access]:
        before = recorded_spec(cluster_folder(self.clusters, name))
        aws, spec, regions = self._known_of(name)
        if spec is None:
            raise UsageError(
                f"cluster {name}: nothing here says who may reach it",
                hint="name its configuration with -c",
            )
        living = living_ones(instances(aws, name, regions))
        made = access.refresh(aws, name, regions, spec, living)
        if before is not None:
            # Refreshed again without a configuration, it stays like this.
            changes = {"access": spec.ec2.access, "expose": spec.ec2.expose}
            kept = before.model_copy(update={"ec2": before.ec2.model_copy(update=changes)})
            claimed(self.clusters, kept)
        return made


def _profile(spec: ClusterSpec | None) -> str | None:
    return spec.ec2.profile if spec else None


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
