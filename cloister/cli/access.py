"""`access`: who may reach the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, show, show_json

if TYPE_CHECKING:
    from cloister.cluster.access import Reach
    from cloister.config.spec import ClusterSpec
    from cloister.plan.access import Access


@click.group(epilog="Example: cloister access refresh")
def access() -> None:
    """Show or refresh which networks may reach which ports of the nodes."""


@access.command("show", epilog="Example: cloister access show --json")
@config_options
@json_option
@with_context
def show_command(context: Context) -> None:
    """Print the rules of the cluster's security groups, as they are."""
    from cloister.cluster.access import show_access

    reach = show_access(context.cluster_name(), state=context.state, spec=context.spec_if_unknown())
    _show(reach, context.json)


@access.command(epilog="Example: cloister access refresh -c configs/clusters/ec2.yaml")
@config_options
@wait_option
@json_option
@with_context
def refresh(context: Context) -> None:
    """Make the rules what a launch would make them now; the nodes are not touched.

    For when this machine has another address than at the launch, or cluster.ec2.access or expose have changed.
    """
    from cloister.cluster.access import refresh_access

    reach = refresh_access(
        context.cluster_name(),
        state=context.state,
        spec=_spec(context),
        wait_s=context.wait_s,
        say=say,
    )
    _show(reach, context.json)


def _spec(context: Context) -> ClusterSpec | None:
    """Of the configuration, which may have changed since the launch; without one the recorded one counts."""
    return context.configuration().cluster if context.files() else None


def _show(reach: Reach, json: bool) -> None:
    if json:
        show_json(reach)
        return
    for group in reach.groups:
        show(f"{reach.cluster} in {group.region} ({group.group}):")
        for line in _lines(group):
            show(f"  {line}")


def _lines(group: Access) -> list[str]:
    """A table of the rules, those that were revoked last."""
    rows = [(rule, "added" if rule in group.added else "") for rule in group.rules]
    rows += [(rule, "revoked") for rule in group.revoked]
    widths = [
        max((len(text) for text in column), default=0)
        for column in ([rule.ports for rule, _ in rows], [rule.source for rule, _ in rows])
    ]
    return [
        f"{rule.ports:<{widths[0]}}  from {rule.source:<{widths[1]}}  {mark}".rstrip()
        for rule, mark in rows
    ]
