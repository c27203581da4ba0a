"""`extend`: a longer lease."""

from __future__ import annotations

import click

from cloister.cli.context import Context
from cloister.cli.options import DURATION, config_options, json_option, wait_option, with_context
from cloister.cli.output import say, seconds_text, show, show_json


@click.command(epilog="Example: cloister extend 2h")
@click.argument("duration", type=DURATION, required=False)
@config_options
@wait_option
@json_option
@with_context
def extend(context: Context, duration: float | None) -> None:
    """Prolong the lease: the nodes end by themselves DURATION from now (default: cluster.ec2.lease).

    Repeating it is harmless. Interrupted, each node ends at the old time or at the new one.
    """
    import time

    from cloister.deploy.leases import extend as extend_lease

    cluster = extend_lease(
        context.cluster_name(),
        duration,
        state=context.state,
        spec=context.spec_if_unknown(),
        wait_s=context.wait_s,
        say=say,
    )
    assert cluster.expires is not None
    if context.json:
        show_json(
            {"cluster": cluster.name, "expires": cluster.expires, "nodes": len(cluster.nodes)}
        )
        return
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(cluster.expires))
    left = seconds_text(60 * round((cluster.expires - time.time()) / 60))
    count = len(cluster.nodes)
    show(
        f"{cluster.name}: {count} node{'' if count == 1 else 's'} end by themselves in {left}, at {moment}"
    )
