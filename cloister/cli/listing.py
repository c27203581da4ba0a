"""`ls`: the clusters that there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from cloister.cli.context import Context
from cloister.cli.lifecycle import provider_option
from cloister.cli.options import config_options, json_option, with_context
from cloister.cli.output import seconds_text, show, show_json
from cloister.errors import CloisterError, PartlyDone

if TYPE_CHECKING:
    from cloister.plan.listed import Listed, Unseen
    from cloister.plan.observed import Bill


@click.command(epilog="Example: cloister ls --json")
@config_options
@provider_option
@json_option
@with_context
def ls(context: Context, provider: str | None) -> None:
    """List the clusters and their nodes: this user's, and on EC2 all of the account.

    Says as well what could not be looked at, and then ends with status 3.
    """
    from cloister.cluster.listing import listing
    from cloister.plan.listed import unseen as unseen_cluster

    spec, gaps = None, []
    try:
        spec = context.spec_if_unknown(provider)
    except CloisterError as error:
        # Of those that are known here nothing is hidden by it.
        gaps = [unseen_cluster(context.cluster_name() or "", "as configured", error)]
    found = listing(context.state, spec=spec, provider=provider)
    clusters = [entry for entry in found.clusters if context.label in (None, entry.name)]
    missed = [*gaps, *found.unseen]
    unseen = [entry for entry in missed if context.label in (None, entry.name, "")]
    if context.json:
        show_json([*map(_as_json, clusters), *map(_unseen_as_json, unseen)])
    elif not clusters and not unseen:
        show("no clusters")
    else:
        for line in [line for entry in clusters for line in _lines(entry)]:
            show(line)
        for line in [line for gap in unseen for line in _unseen_lines(gap)]:
            show(line)
    if unseen:
        raise PartlyDone(f"not everything could be looked at: {', '.join(map(_name, unseen))}")


def _lines(entry: Listed) -> Iterator[str]:
    seen = entry.observed
    running = sum(1 for node in seen.nodes if node.state == "running")
    where = f" in {', '.join(entry.regions)}" if entry.regions else ""
    yield f"{seen.name} ({seen.provider}): {running} of {len(seen.nodes)} nodes running{where}"
    if entry.bill is not None:
        yield f"  {_cost(entry.bill, ends=bool(seen.nodes))}"
    for observed in seen.nodes:
        node = observed.node
        address = f"{node.address}:{node.port}" if node.port else node.address
        detail = f"  {observed.detail}" if observed.detail else ""
        yield f"  {node.name:<16} {observed.state:<9} {address:<22} {','.join(node.roles)}{detail}"
    for leftover in seen.leftovers:
        # Of EC2, groups and keys belong to a cluster that runs.
        yield f"  {'with' if seen.nodes else 'left over:'} {leftover}"


def _cost(paid: Bill, *, ends: bool) -> str:
    """`ends`: whether it has nodes, which end with the lease."""
    now = time.time()
    left = paid.expires - now
    lease = (
        f"lease ends in {seconds_text(left)}"
        if left > 0
        else f"LEASE OVER for {seconds_text(-left)}"
    )
    facts = [f"{seconds_text(now - paid.since)} old", *([lease] if ends else []), _dollars(paid)]
    return ", ".join(facts)


def _dollars(paid: Bill) -> str:
    from cloister.cluster.lifecycle import dollars_text

    if paid.dollars is None or paid.dollars_per_hour is None:
        return dollars_text(None)
    return f"{dollars_text(paid.dollars)} so far, {dollars_text(paid.dollars_per_hour)} per hour"


def _unseen_lines(gap: Unseen) -> Iterator[str]:
    yield f"{_name(gap)}: not seen: {gap.error}"
    if gap.hint:
        yield f"  hint: {gap.hint}"


def _name(gap: Unseen) -> str:
    if gap.name:
        return f"{gap.name} ({gap.provider})"
    return f"{gap.provider} in {', '.join(gap.regions) or 'other regions'}"


def _as_json(entry: Listed) -> dict[str, Any]:
    seen = entry.observed
    return {
        "name": seen.name,
        "provider": seen.provider,
        "uid": seen.uid,
        "expires": seen.expires,
        "nodes": seen.nodes,
        "leftovers": seen.leftovers,
        "bill": entry.bill,
        "regions": entry.regions,
    }


def _unseen_as_json(gap: Unseen) -> dict[str, Any]:
    return {
        "name": gap.name or None,
        "provider": gap.provider,
        "regions": gap.regions,
        "error": gap.error,
        "hint": gap.hint,
    }
