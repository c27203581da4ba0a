"""Options that many commands share, and how they reach a command."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cloister.cli.context import Context

F = TypeVar("F", bound=Callable[..., Any])


def config_options(function: F) -> F:
    """-c, -l and -n, as the original cloister had them."""
    for option in (
        click.option(
            "-n",
            "--nworkers",
            type=click.IntRange(min=0),
            help="Number of nodes of the role `workers`, in place of the configuration's.",
        ),
        click.option(
            "-l",
            "--label",
            metavar="NAME",
            help="Name of the cluster, in place of the configuration's.",
        ),
        click.option(
            "-c",
            "--config",
            multiple=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Configuration (YAML, JSON or TOML); may be repeated. Default: cloister.yaml here.",
        ),
    ):
        function = option(function)
    return function


class _Duration(click.ParamType):
    """As in configurations: `90m`, `1h30m`, or a number of seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from cloister.config.fields import seconds

        try:
            lasting_s = float(value)
        except ValueError:
            try:
                lasting_s = float(str(seconds(value)))
            except ValueError as error:
                self.fail(f"{value!r}: {error}", param, ctx)
        if not (math.isfinite(lasting_s) and lasting_s >= 0):
            self.fail(f"{value!r} is no duration", param, ctx)
        return lasting_s


DURATION = _Duration()


def json_option(function: F) -> F:
    return click.option("--json", "json", is_flag=True, help="Print the result as JSON.")(function)


def roles_option(function: F) -> F:
    return click.option(
        "-r",
        "--role",
        "roles",
        multiple=True,
        help="Only on nodes of this role, or this node; repeatable.",
    )(function)


def wait_option(function: F) -> F:
    return click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="How long to wait while another command works on the cluster (default: 10).",
    )(function)


def with_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command its Context, made of the group's options and its own."""

    @click.pass_context
    @functools.wraps(function)
    def command(ctx: click.Context, /, **options: Any) -> Any:
        names = {"config", "label", "nworkers", "json", "wait_s"}
        shared = {key: options.pop(key) for key in list(options) if key in names}
        base = ctx.obj if isinstance(ctx.obj, Context) else Context()
        return function(base.updated(**shared), **options)

    return command
