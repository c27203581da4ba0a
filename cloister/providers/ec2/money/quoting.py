"""What a launch takes and costs, before it is done."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from cloister.config.spec import ClusterSpec
from cloister.plan.budget import expect_launch_within
from cloister.plan.observed import Node
from cloister.providers.ec2.api import Aws
from cloister.providers.ec2.launch.batches import batches, machine_of
from cloister.providers.ec2.launch.sites import ground, roles_by_region
from cloister.providers.ec2.money.prices import ADDRESS_PER_HOUR, Prices, disk_per_hour, gigabytes


def quote(aws: Aws, spec: ClusterSpec, nodes: Sequence[Node], prices: Prices) -> list[str]:
    """Machines, images, launch calls and price of these nodes, in lines for a person.

    ProviderError for what could not be launched: an image that is not there, a type no zone has.
    """
    lines = []
    for region, roles in roles_by_region(nodes).items():
        base = ground(aws, spec, region, roles)
        for role in roles:
            machine = machine_of(spec, role)
            image = base.images[role, machine.machines[0]]
            count = sum(1 for n in nodes if (n.region, n.roles[0]) == (region, role))
            lines.append(
                f"  {count} × {' or '.join(machine.machines)} ({' or '.join(machine.markets) or 'on-demand'})"
                f" for {role} in {region}: image {image.id} {image.name}".rstrip()
            )
    calls = len(batches(nodes))
    lines.append(f"  {calls} launch call{'' if calls == 1 else 's'}")
    per_hour, unknown = hourly(spec, nodes, prices)
    hours = spec.ec2.lease / 3600
    known = f"${per_hour:.4f} per hour, ${per_hour * hours:.2f} for the lease of {hours:g} h"
    if unknown:
        known += f", and what AWS does not tell the price of: {', '.join(unknown)}"
    if prices.asked is not None:
        known += f" (prices of {time.strftime('%Y-%m-%d', time.localtime(prices.asked))})"
    return [*lines, f"  {known}"]


def expect_affordable(spec: ClusterSpec, nodes: Sequence[Node], prices: Prices) -> None:
    """UsageError if launching these, all nodes of the cluster, could cost more than its budget."""
    dearest = spec.ec2.budget.dollars_max is not None
    quoted = hourly(spec, nodes, prices, dearest=dearest)
    expect_launch_within(spec.ec2.budget, spec.ec2.lease, *quoted)


def hourly(
    spec: ClusterSpec, nodes: Sequence[Node], prices: Prices, *, dearest: bool = False
) -> tuple[float, tuple[str, ...]]:
    """Dollars per hour of what is known, with disks and addresses; the machine types that are not.

    dearest: as if there were only room for the dearest of the machine types and markets that will do,
    instead of the first.
    """
    total, unknown = 0.0, dict[str, None]()
    for (region, role), count in _counted(nodes).items():
        machine = machine_of(spec, role)
        choices = list(itertools.product(machine.markets or ("on-demand",), machine.machines))
        known = [0.0]
        for market, kind in choices if dearest else choices[:1]:
            if price := prices.of(market, region, kind):
                known.append(price.dollars)
            else:
                unknown[f"{kind} ({market}) in {region}"] = None
        each = max(known) + ADDRESS_PER_HOUR + disk_per_hour(gigabytes(machine))
        total += count * each
    return total, tuple(unknown)


def _counted(nodes: Sequence[Node]) -> Mapping[tuple[str, str], int]:
    return Counter((node.region, node.roles[0]) for node in nodes)
