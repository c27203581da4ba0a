"""`gc`: what nobody needs any more in the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, seconds_text, show, show_json
from cloister.errors import CloisterError, PartlyDone

if TYPE_CHECKING:
    from cloister.cluster.garbage import Findings


@click.command(epilog="Example: cloister gc --yes")
@config_options
@click.option("--region", "regions", multiple=True, help="Only there; repeatable. Default: all.")
@click.option("--yes", is_flag=True, help="Remove it; otherwise it is only shown.")
@wait_option
@json_option
@with_context
def gc(context: Context, regions: tuple[str, ...], yes: bool) -> None:
    """Find what has outlived its lease or belongs to no cluster, in all regions of the AWS account.

    Instances, volumes, addresses, network interfaces, groups, keys, placement groups, schedules, images
    and snapshots; only what carries cloister's tags. Clusters whose lease runs are left alone.
    """
    from cloister.cluster.garbage import collect_garbage, find_garbage

    spec = context.configuration().cluster if context.files() else None
    if spec is not None and spec.provider != "ec2":
        spec = None
    if yes:
        found = collect_garbage(
            state=context.state, spec=spec, regions=regions, wait_s=context.wait_s, say=say
        )
    else:
        found = find_garbage(state=context.state, spec=spec, regions=regions)
    if context.json:
        show_json(found)
    else:
        _show(found, removed=yes)
    if found.left:
        raise CloisterError(
            f"{len(found.left)} things are left",
            hint="`cloister gc --yes` again removes what it can",
        )
    if found.unseen:
        raise PartlyDone(f"not looked at: {', '.join(found.unseen)}")


def _show(found: Findings, *, removed: bool) -> None:
    for one in found.things:
        thing = one.thing
        whose = f" of {thing.cluster}" if thing.cluster else ""
        show(
            f"{thing.region:<14} {thing.kind} {thing.id}{whose}: {one.why} ({seconds_text(one.over_s)})"
        )
    for pruning in found.images:
        for entry in pruning.removed:
            show(f"{pruning.region:<14} image {entry.image.id} {entry.image.name}: it failed")
        for snapshot in pruning.orphans:
            show(
                f"{pruning.region:<14} snapshot {snapshot.id} of {snapshot.prefix}: its image is gone"
            )
    for region, why in found.unseen.items():
        say(f"{region}: not looked at: {why}")
    if found.nothing:
        show("nothing that nobody needs")
    elif removed:
        show(
            f"{len(found.things)} found, {len(found.removed)} removed, {len(found.left) or 'nothing'} left"
        )
    else:
        show("`cloister gc --yes` removes it")
