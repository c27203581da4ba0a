"""`sync` and `redeploy`: code onto the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from cloister.cli.context import Context
from cloister.cli.options import (
    config_options,
    json_option,
    roles_option,
    wait_option,
    with_context,
)
from cloister.cli.output import say, show, show_json
from cloister.errors import UsageError

if TYPE_CHECKING:
    from cloister.cluster import Cluster
    from cloister.cluster.development import Development
    from cloister.config.loading import Configuration
    from cloister.deploy.redeploying import Redeployed
    from cloister.plan.observed import Node
    from cloister.transport.sync import Synced


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
    _show({target: result.values for target, result in deployed.synced.items()})


def _show(synced: Mapping[str, Mapping[str, Synced]]) -> None:
    from cloister.transport.fold import fold_equal

    for target, nodes in synced.items():
        texts = {
            name: f"{s.sent} files sent ({s.sent_bytes} bytes), {s.deleted} deleted, {s.unchanged} unchanged"
            for name, s in nodes.items()
        }
        for names, text in fold_equal(texts):
            show(f"{target} → {names}: {text}")


@click.command(epilog="Example: cloister redeploy --from development -r workers")
@config_options
@click.option(
    "--from",
    "source",
    type=click.Choice(["development", "here"]),
    help="Default: development, if the configuration names folders of it.",
)
@roles_option
@wait_option
@json_option
@with_context
def redeploy(context: Context, source: str | None, roles: tuple[str, ...]) -> None:
    """Bring code from the development instance, or from this machine, to all nodes anew.

    From the development instance: its folders (cluster.ec2.development.folders) come to this machine with
    rsync, and from here to the workers, or the nodes of -r, below their homes: ~/clamor there is ~/clamor
    on the nodes. What is gone there goes, but nothing in the nodes' work folder. Not copied: .git, *.pem at
    the top of a folder, and logs in experiments/cpp. It goes through this machine because neither a
    private key nor an SSH agent is ever lent to a node.

    From this machine: the sources under `deploy`, as `cloister sync` does it.
    """
    from cloister.cli.failures import expect_no_errors
    from cloister.cluster.development import development_of, expect_folders
    from cloister.cluster.lock import holding

    configuration = context.configuration()
    spec = configuration.cluster
    named = spec.ec2.development if spec else None
    development = None
    if source == "development" or (source is None and named is not None and named.folders):
        development = development_of(spec or context.cluster_spec(), context.state)
        expect_folders(development)
    elif not configuration.deploy:
        raise UsageError(
            "the configuration has neither sources to deploy nor a development instance with folders",
            hint="write deploy: [{source: app, target: app}], or cluster.ec2.development",
        )
    cluster = context.cluster()
    nodes = cluster.select(roles) if roles else None
    with holding(
        cluster.name, "cloister redeploy", state=context.state, wait_s=context.wait_s, say=say
    ):
        done = _redeployed(cluster, nodes, development, configuration)
    if context.json:
        show_json(done)
    else:
        _show(done.synced)
    count = len({*done.errors, *(name for nodes in done.synced.values() for name in nodes)})
    expect_no_errors(
        done.errors,
        count,
        "the code was not redeployed",
        hint="`cloister redeploy` again continues",
    )


def _redeployed(
    cluster: Cluster,
    nodes: tuple[Node, ...] | None,
    development: Development | None,
    configuration: Configuration,
) -> Redeployed:
    from cloister.deploy.redeploying import redeploy_development, redeploy_here
    from cloister.transport.links import Links

    with Links(marks=cluster.marks, ssh_config=cluster.ssh_config) as links:
        if development is not None:
            return redeploy_development(
                links,
                nodes or cluster.workers,
                development,
                cluster.folder / "development",
                say=say,
            )
        return redeploy_here(
            links,
            nodes or cluster.nodes,
            configuration.deploy,
            cluster.folder / "builds",
            say=say,
        )
