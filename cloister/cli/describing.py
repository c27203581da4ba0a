"""`schema` and `plan`: what could be asked for, and what would be done."""

from __future__ import annotations

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, with_context
from cloister.cli.output import show, show_json


@click.command(epilog="Example: cloister schema > cloister.schema.json")
@with_context
def schema(context: Context) -> None:
    """Print the JSON Schema of configurations, for editors."""
    from cloister.config.schema import json_schema

    show_json(json_schema())


@click.command(epilog="Example: cloister plan -c configs/experiments/ring.yaml")
@config_options
@json_option
@with_context
def plan(context: Context) -> None:
    """Show what `launch` would do, and how many trials `run` has. Changes nothing."""
    from cloister.cluster.lifecycle import observe, quote
    from cloister.experiment.trial import points
    from cloister.plan.launching import launch_plan

    configuration = context.configuration()
    spec = configuration.cluster
    if spec is None:
        spec = context.cluster_spec()
    planned = launch_plan(spec, observe(spec.name, spec=spec, state=context.state))
    foreseen = quote(planned, spec, state=context.state)
    trials = {e.name: (len(points(e)), e.repeats) for e in configuration.experiments}
    if context.json:
        show_json(
            {
                "cluster": spec.name,
                "provider": spec.provider,
                "actions": [
                    {"action": type(a).__name__.lower(), **_fields(a)} for a in planned.actions
                ],
                "quote": foreseen,
                "experiments": {
                    name: {"points": count, "repeats": repeats, "trials": count * repeats}
                    for name, (count, repeats) in trials.items()
                },
            }
        )
        return
    show(planned.describe())
    for line in foreseen:
        show(line)
    for name, (count, repeats) in trials.items():
        show(f"experiment {name}: {count} points × {repeats} repeats = {count * repeats} trials")


def _fields(action: object) -> dict[str, object]:
    import dataclasses

    assert dataclasses.is_dataclass(action)
    return {field.name: getattr(action, field.name) for field in dataclasses.fields(action)}
