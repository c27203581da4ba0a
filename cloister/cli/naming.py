"""`copy-dns` and `inventory`: the nodes' names and addresses for other programs, there and here."""

from __future__ import annotations

from pathlib import Path

import click

from cloister.cli.context import Context
from cloister.cli.lifecycle import servers_option
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, show, show_json

FORMATS = ("json", "ansible", "mpi", "ssh")


@click.command("copy-dns", epilog="Example: cloister copy-dns")
@config_options
@servers_option
@click.option(
    "--within",
    "within_s",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a node is tried again.",
)
@wait_option
@json_option
@with_context
def copy_dns(context: Context, servers: Path, within_s: float) -> None:
    """Write servers/*.txt here, copy them to servers/ on every node, and verify them there.

    A node that cannot be reached, or where copying fails, is tried again.
    """
    from cloister.cli.failures import expect_no_errors
    from cloister.deploy.bringing_up import copy_names

    cluster = context.cluster()
    copied = copy_names(cluster, servers=servers, say=say, within_s=within_s)
    if context.json:
        show_json(copied)
    elif copied.nodes:
        from cloister.transport.fold import fold

        names = fold(copied.nodes)
        show(f"{names}: {len(copied.files)} files verified: {', '.join(copied.files)}")
    expect_no_errors(
        copied.errors,
        len(cluster.nodes),
        "the names are not complete",
        hint="`cloister copy-dns` tries again",
    )


@click.command(epilog="Example: cloister inventory --format ansible > hosts.ini")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="json",
    show_default=True,
    help="json: all that is known of each node. ansible: an inventory in INI form, a group for each role. "
    "mpi: a host file. ssh: an ssh_config.",
)
@config_options
@with_context
def inventory(context: Context, form: str) -> None:
    """Print the cluster's nodes in the form that another program reads."""
    from cloister.cluster.ansible import ansible_inventory
    from cloister.cluster.inventory import inventory as files
    from cloister.cluster.ssh_files import ssh_config

    cluster = context.cluster()
    match form:
        case "ansible":
            show(ansible_inventory(cluster).rstrip("\n"))
        case "mpi":
            show(files(cluster.nodes)["mpi_hosts.txt"].rstrip("\n"))
        case "ssh":
            show(ssh_config(cluster).rstrip("\n"))
        case _:
            show_json(
                {"cluster": cluster.name, "provider": cluster.provider, "nodes": cluster.nodes}
            )
