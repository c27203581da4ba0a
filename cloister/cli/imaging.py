"""`bake` and `images`: what nodes start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, seconds_text, show, show_json
from cloister.errors import UsageError

if TYPE_CHECKING:
    from cloister.config.spec import ClusterSpec
    from cloister.plan.images import ObservedImages, OwnImage, Pruning

_DAY_S = 86_400

all_regions_option = click.option(
    "--all-regions",
    "everywhere",
    is_flag=True,
    help="In every region that the account has enabled.",
)


@click.command(epilog="Example: cloister bake -c configs/clusters/ec2.yaml")
@config_options
@click.option(
    "--name",
    metavar="PREFIX",
    help="What the image's name begins with, before the time; by default the configured ami_tag.",
)
@click.option(
    "--instance",
    metavar="ID|NODE",
    help="Of this instance or node of the cluster, in place of cluster.ec2.development.",
)
@click.option(
    "--no-reboot",
    is_flag=True,
    help="Leave the instance running; files that are being written may be cut off in the image.",
)
@click.option("--anew", is_flag=True, help="Do not continue a bake that was interrupted.")
@wait_option
@json_option
@with_context
def bake(
    context: Context, name: str | None, instance: str | None, no_reboot: bool, anew: bool
) -> None:
    """Make an image of the development instance, which `ami: latest` finds from then on.

    The instance is rebooted, as AWS does it, so that the image's files are whole. Waits until the image
    can be used; interrupted and called again within an hour, it goes on with the same image.
    """
    from cloister.cluster.images import bake as bake_image

    baked = bake_image(
        context.cluster_spec(),
        state=context.state,
        name=name,
        instance=instance,
        reboot=not no_reboot,
        anew=anew,
        wait_s=context.wait_s,
        say=say,
    )
    if context.json:
        show_json(
            {**_as_json(baked.image), "source": baked.source.instance, "took_s": baked.took_s}
        )
        return
    image = baked.image
    show(
        f"{image.name}: {image.id} in {image.region}, {image.gib} GiB, {image.architecture},"
        f" made of {baked.source} in {seconds_text(baked.took_s)}"
    )


@click.group(invoke_without_command=True, epilog="Example: cloister images --all-regions")
@config_options
@all_regions_option
@json_option
@with_context
def images(context: Context, everywhere: bool) -> None:
    """List the account's own images; `images prune` removes old ones.

    Marked are those that `ami: latest` of the configuration means, and those that cloister baked.
    """
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is not None:
        if everywhere:
            raise UsageError("--all-regions stands after `prune`")
        ctx.obj = context
        return
    from cloister.cluster.images import images as observed_images

    seen = observed_images(_spec(context), state=context.state, everywhere=everywhere)
    if context.json:
        show_json(
            [_as_json(each) | _uses(region, each) for region in seen for each in region.images]
        )
        return
    for region in seen:
        for line in _lines(region):
            show(line)
    if not any(region.images for region in seen):
        show(f"no images in {', '.join(region.region for region in seen)}")


@images.command(epilog="Example: cloister images prune --keep 3 --yes")
@config_options
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    required=True,
    metavar="N",
    help="How many of the newest to keep, of each CPU architecture.",
)
@click.option(
    "--prefix",
    help="Of the images that were baked under this name; by default the configured ami_tag.",
)
@click.option("--yes", is_flag=True, help="Do it; otherwise only shows what it would do.")
@all_regions_option
@wait_option
@json_option
@with_context
def prune(context: Context, keep: int, prefix: str | None, yes: bool, everywhere: bool) -> None:
    """Remove old images that cloister baked, with their snapshots, which cost as long as they are there.

    Never one that an instance runs on, and nothing that somebody else made.
    """
    from cloister.cluster.images import prune as prune_images

    done = prune_images(
        _spec(context),
        state=context.state,
        keep=keep,
        prefix=prefix,
        everywhere=everywhere,
        dry_run=not yes,
        wait_s=context.wait_s,
        say=say,
    )
    if context.json:
        show_json({"done": yes, "regions": [_pruning_as_json(each) for each in done]})
        return
    for each in done:
        for line in _pruned_lines(each, yes):
            show(line)
    count = sum(len(each.removed) + len(each.orphans) for each in done)
    if not count:
        show("nothing to remove")
    elif not yes:
        show("nothing was removed; --yes does it")


def _spec(context: Context) -> ClusterSpec | None:
    return context.configuration().cluster if context.files() else None


def _lines(seen: ObservedImages) -> list[str]:
    """A table of the region's images, newest first."""
    import time

    from cloister.plan.images import newest_first

    now = time.time()
    rows = [
        (
            image.name,
            image.id,
            image.state,
            _age(now - image.created),
            f"{image.gib} GiB",
            image.architecture,
            _marks(seen, image),
        )
        for image in newest_first(seen.images)
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(6)] if rows else []
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in rows
    ]
    return [f"{seen.region}:", *(f"  {line}" for line in lines)] if lines else []


def _age(seconds: float) -> str:
    return seconds_text(seconds) if seconds < 2 * _DAY_S else f"{seconds / _DAY_S:.0f} days"


def _marks(seen: ObservedImages, image: OwnImage) -> str:
    users = len(seen.used_by.get(image.id, ()))
    marks = {
        "ami: latest": image.latest,
        "by cloister": image.is_cloisters,
        f"used by {users} instance{'' if users == 1 else 's'}": users > 0,
    }
    return ", ".join(mark for mark, is_so in marks.items() if is_so)


def _pruned_lines(chosen: Pruning, done: bool) -> list[str]:
    verb = "removed" if done else "would remove"
    lines = [
        f"{verb} {entry.image} with {len(entry.snapshots)} snapshot{'' if len(entry.snapshots) == 1 else 's'}"
        for entry in chosen.removed
    ]
    lines += [
        f"{verb} snapshot {one.id} in {one.region}, whose image is gone" for one in chosen.orphans
    ]
    return lines + [f"kept {entry.image}: {entry.why}" for entry in chosen.kept]


def _as_json(image: OwnImage) -> dict[str, object]:
    return {
        "id": image.id,
        "name": image.name,
        "region": image.region,
        "state": image.state,
        "created": image.created,
        "gib": image.gib,
        "architecture": image.architecture,
        "prefix": image.prefix or None,
        "snapshots": image.snapshots,
    }


def _uses(seen: ObservedImages, image: OwnImage) -> dict[str, object]:
    return {
        "latest": image.latest,
        "by_cloister": image.is_cloisters,
        "used_by": seen.used_by.get(image.id, ()),
    }


def _pruning_as_json(chosen: Pruning) -> dict[str, object]:
    return {
        "region": chosen.region,
        "prefix": chosen.prefix,
        "removed": [
            {**_as_json(entry.image), "snapshots": [one.id for one in entry.snapshots]}
            for entry in chosen.removed
        ],
        "orphans": [one.id for one in chosen.orphans],
        "kept": [{"id": e.image.id, "name": e.image.name, "why": e.why} for e in chosen.kept],
    }
