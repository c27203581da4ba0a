"""`init`, `doctor` and `completion`: from nothing to a configuration that works here."""

from __future__ import annotations

from pathlib import Path

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, with_context
from cloister.cli.output import show, show_json
from cloister.errors import UsageError


@click.command(epilog="Example: cloister init && cloister plan")
@click.argument("file", type=click.Path(path_type=Path), default=Path("cloister.yaml"))
@with_context
def init(context: Context, file: Path) -> None:
    """Write a commented configuration to FILE (default: cloister.yaml)."""
    from cloister.config.sample import sample_configuration

    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(sample_configuration())
    except FileExistsError:
        raise UsageError(
            f"{file} exists already", hint="name another file: cloister init FILE"
        ) from None
    show(f"wrote {file}; now: cloister plan -c {file}")


_MARKS = {True: "ok  ", False: "BAD ", None: "??  "}


@click.command(epilog="Example: cloister doctor -c configs/experiments/ring.yaml")
@config_options
@click.option(
    "--aws", is_flag=True, help="Ask AWS too: who you are there, every call in a dry run, quotas."
)
@json_option
@with_context
def doctor(context: Context, aws: bool) -> int:
    """Check all that this machine and the configuration need, and say how to mend it.

    Creates nothing, on AWS neither. Lines with ?? are about what could not be found out.
    """
    from cloister.cli.checkup import examine

    findings = examine(context, aws=aws)
    if context.json:
        show_json(findings)
    else:
        for finding in findings:
            show(f"{_MARKS[finding.ok]} {finding.what}: {finding.found}")
            if finding.ok is False and finding.mend:
                show(f"     mend: {finding.mend}")
    return 1 if any(finding.ok is False for finding in findings) else 0


@click.command(epilog='Example: eval "$(cloister completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    show(kind(ctx.find_root().command, {}, "cloister", "_CLOISTER_COMPLETE").source())
