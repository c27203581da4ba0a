"""The command line: each command parses its arguments, calls one function and renders its result.

Only this module turns errors into exit statuses: 0 done, 1 failed, 2 usage or configuration, 3 partly
done, 130 interrupted. Commands import what they need when they run, so that `--help` is instant.
"""

from __future__ import annotations

import sys

import click

from cloister import __version__
from cloister.cli.context import Context
from cloister.cli.options import config_options
from cloister.errors import CloisterError


class _Ordered(click.Group):
    """Commands in the order in which they are used, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_Ordered,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: cloister init && cloister launch && cloister run && cloister results && cloister destroy",
)
@config_options
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="cloister")
@click.pass_context
def cli(ctx: click.Context, debug: bool, **options: object) -> None:
    """Launch a cluster, run the experiment, keep the evidence, leave nothing running."""
    ctx.obj = Context().updated(**options)


def _register() -> None:
    from cloister.cli import (
        access,
        collecting,
        copying,
        describing,
        imaging,
        leasing,
        lifecycle,
        listing,
        logs,
        naming,
        preparing,
        reaching,
        reporting,
        running,
        starting,
    )

    for command in (
        starting.init,
        starting.doctor,
        describing.schema,
        describing.plan,
        lifecycle.launch,
        listing.ls,
        leasing.extend,
        access.access,
        reaching.login,
        reaching.login_ami,
        reaching.run_command,
        reaching.ps,
        copying.sync,
        copying.redeploy,
        naming.copy_dns,
        naming.inventory,
        imaging.bake,
        imaging.images,
        preparing.copy_id_rsa,
        preparing.attach_swap,
        running.run,
        logs.download_logs,
        logs.erase_logs,
        logs.erase_all_logs,
        reporting.results,
        reporting.report,
        lifecycle.destroy,
        collecting.gc,
        starting.completion,
    ):
        cli.add_command(command)


_register()


def main(arguments: list[str] | None = None) -> int:
    return exit_status(cli, "cloister", sys.argv[1:] if arguments is None else arguments)


def exit_status(command: click.Command, name: str, arguments: list[str]) -> int:
    """Run a command; its exit status. Errors that users can cause never show a traceback."""
    debug = "--debug" in arguments
    try:
        result = command.main(args=arguments, prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        if debug:
            raise
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except CloisterError as error:
        if debug:
            raise
        _show(name, error)
        return error.exit_status
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does.
        sys.stderr.close()
        return 141
    except OSError as error:
        if debug:
            raise
        where = f" {error.filename}" if error.filename else ""
        print(f"{name}: error:{where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        print(f"{name}: internal error: {kind}: {error}\n  (--debug shows where)", file=sys.stderr)
        return 1


def _show(name: str, error: CloisterError) -> None:
    print(f"{name}: error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


def entry_point() -> None:
    """Of the `cloister` console script."""
    sys.exit(main())
