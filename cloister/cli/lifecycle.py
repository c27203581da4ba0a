"""`launch` and `destroy`: the cluster's life."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, seconds_text, show, show_json
from cloister.errors import PartlyDone

if TYPE_CHECKING:
    from cloister.providers.provider import NodeEvent

SERVERS = Path("servers")

servers_option = click.option(
    "--servers",
    type=click.Path(path_type=Path, file_okay=False),
    default=SERVERS,
    show_default=True,
    help="Where the files with the nodes' names go.",
)


@click.command(epilog="Example: cloister launch -c configs/clusters/local-4.yaml")
@config_options
@click.option("--dry-run", is_flag=True, help="As `cloister plan`.")
@servers_option
@wait_option
@json_option
@with_context
def launch(context: Context, dry_run: bool, servers: Path) -> None:
    """Launch the cluster, or continue or repair it; then it is as configured.

    Launching twice is launching once. Writes servers/*.txt and copies them to the nodes.
    """
    import time

    from cloister.cli.describing import plan
    from cloister.deploy.bringing_up import bring_up

    if dry_run:
        click.get_current_context().invoke(
            plan,
            config=context.config,
            label=context.label,
            nworkers=context.nworkers,
            json=context.json,
        )
        return
    spec = context.cluster_spec()
    began = time.monotonic()
    cluster = bring_up(
        spec, state=context.state, servers=servers, wait_s=context.wait_s, report=_tell, say=say
    )
    if context.json:
        show_json({"cluster": cluster.name, "provider": cluster.provider, "nodes": cluster.nodes})
        return
    took = seconds_text(time.monotonic() - began)
    show(f"{cluster.name}: {len(cluster.nodes)} nodes ready in {took}; names in {servers}/")


def _tell(event: NodeEvent) -> None:
    if event.kind in ("failed", "removed") or event.detail:
        say(f"{event.node}: {event.kind}{' ' + event.detail if event.detail else ''}")


provider_option = click.option(
    "--provider",
    type=click.Choice(["local", "manual", "ec2"]),
    help="Look there as well for clusters of which nothing is known here.",
)


@click.command(epilog="Example: cloister destroy -c configs/clusters/local-4.yaml")
@config_options
@provider_option
@servers_option
@wait_option
@json_option
@with_context
def destroy(context: Context, servers: Path, provider: str | None) -> None:
    """End every process of the cluster and remove all that belongs to it; prints a receipt."""
    from cloister.cluster.inventory import remove_inventory
    from cloister.cluster.lifecycle import destroy as destroy_cluster

    receipt = destroy_cluster(
        context.cluster_name(),
        state=context.state,
        spec=context.spec_if_unknown(provider),
        provider=provider,
        wait_s=context.wait_s,
        report=_tell,
        say=say,
    )
    remove_inventory(receipt.name, servers)
    if context.json:
        show_json(receipt)
    else:
        show(receipt.describe())
    if receipt.left:
        raise PartlyDone(f"{receipt.name}: {len(receipt.left)} things are left")
