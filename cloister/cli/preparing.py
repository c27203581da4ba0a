"""`copy-id-rsa` and `attach-swap`: what nodes need before some experiments."""

from __future__ import annotations

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, show_json


@click.command("copy-id-rsa", epilog="Example: cloister copy-id-rsa")
@config_options
@wait_option
@json_option
@with_context
def copy_id_rsa(context: Context) -> None:
    """Let the driver (or master, or manager) log in to the workers, as MPI does, without questions.

    A key is made on the driver, if it has none, and stays there; its public half goes into the workers'
    authorized_keys, and their host keys into the driver's known_hosts.
    """
    from cloister.cli.failures import expect_no_errors, show_folded
    from cloister.cluster.lock import holding
    from cloister.deploy.peer_keys import introduce
    from cloister.transport.links import Links

    cluster = context.cluster()
    with (
        holding(
            cluster.name,
            "cloister copy-id-rsa",
            state=context.state,
            wait_s=context.wait_s,
            say=say,
        ),
        Links(marks=cluster.marks) as links,
    ):
        done = introduce(links, cluster)
    if context.json:
        show_json(
            {
                "front": done.front.name,
                "key": done.key,
                "new": done.nodes.values,
                "errors": done.nodes.errors,
            }
        )
    else:
        who = f"{done.front.name} may log in"
        show_folded(
            {name: who if new else f"{who} already" for name, new in done.nodes.values.items()}
        )
    expect_no_errors(done.nodes.errors, len(cluster.workers), f"{done.front.name} cannot log in")


@click.command("attach-swap", epilog="Example: cloister attach-swap -c configs/clusters/ec2.yaml")
@config_options
@wait_option
@json_option
@with_context
def attach_swap(context: Context) -> None:
    """Give nodes swap: a volume for each node whose role has `swap: GiB`, which goes with the node.

    Running it again continues: no node gets a second one.
    """
    from cloister.cli.failures import expect_no_errors, show_folded
    from cloister.deploy.swapping import attach_swap as attach

    configured = context.configuration().cluster if context.files() else None
    done = attach(
        context.cluster_name(),
        state=context.state,
        spec=configured,
        wait_s=context.wait_s,
        say=say,
    )
    if context.json:
        show_json(done)
    else:
        show_folded({name: f"{done.gib[name]} GiB of swap are on" for name in done.on})
    expect_no_errors(
        done.errors,
        len(done.gib),
        "there is no swap",
        hint="`cloister attach-swap` again continues",
    )
