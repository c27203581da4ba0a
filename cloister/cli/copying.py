"""`sync` and `copy-dns`: code and names onto the nodes."""

from __future__ import annotations

from pathlib import Path

import click

from cloister.cli.context import Context
from cloister.cli.lifecycle import servers_option
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, show, show_json


@click.command(epilog="Example: cloister sync -c configs/experiments/ring.yaml")
@config_options
@wait_option
@json_option
@with_context
def sync(context: Context) -> None:
    """Bring the configured sources to the nodes, and build them once per CPU architecture."""
    from cloister.cluster.lock import holding
    from cloister.deploy.deploying import deploy, facts_of
    from cloister.transport.links import Links

    configuration = context.configuration()
    cluster = context.cluster()
    with (
        holding(cluster.name, "cloister sync", state=context.state, wait_s=context.wait_s, say=say),
        Links(marks=cluster.marks, ssh_config=cluster.ssh_config) as links,
    ):
        facts = facts_of(links, cluster.nodes)
        deployed = deploy(
            links, cluster.nodes, configuration.deploy, facts, cluster.folder / "builds", say=say
        )
    if context.json:
        show_json(
            {"keys": deployed.keys, "synced": {t: r.values for t, r in deployed.synced.items()}}
        )
        return
    from cloister.transport.fold import fold_equal

    for target, result in deployed.synced.items():
        texts = {
            name: f"{s.sent} files sent ({s.sent_bytes} bytes), {s.deleted} deleted, {s.unchanged} unchanged"
            for name, s in result.values.items()
        }
        for names, text in fold_equal(texts):
            show(f"{target} → {names}: {text}")


@click.command("copy-dns", epilog="Example: cloister copy-dns")
@config_options
@servers_option
@wait_option
@with_context
def copy_dns(context: Context, servers: Path) -> None:
    """Write servers/*.txt here, copy them to servers/ on every node, and verify them there."""
    from cloister.deploy.bringing_up import copy_names

    cluster = context.cluster()
    files = copy_names(cluster, servers=servers, say=say)
    show(f"{len(files)} files verified on {len(cluster.nodes)} nodes: {', '.join(files)}")
