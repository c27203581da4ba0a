"""`download-logs`, `erase-logs` and `erase-all-logs`: what benchmarks left on the nodes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, show, show_json
from cloister.errors import CloisterError

if TYPE_CHECKING:
    from cloister.results.benchmark_logs import Log

_NEAREST = 5


@click.command("download-logs", epilog="Example: cloister download-logs ring 01312026_1200")
@click.argument("benchmark", metavar="BENCH")
@click.argument("stamp", metavar="RUN_OR_TIMESTAMP")
@config_options
@json_option
@with_context
def download_logs(context: Context, benchmark: str, stamp: str) -> None:
    """Fetch the logs *_TIMESTAMP.log of a benchmark to logs_BENCH_TIMESTAMP/NODE/, verified.

    They are in experiments/cpp/BENCH below each node's work folder or ~/clamor. Of the driver (or master, or
    manager) the two newest come as well, since its clock may have shown another minute. What
    run_experiment.py runs from this machine it fetches itself, to results/BENCH.
    """
    from cloister.cli.failures import expect_no_errors, show_folded
    from cloister.results import benchmark_logs as found
    from cloister.transport.links import Links

    found.checked(benchmark, stamp)
    cluster = context.cluster()
    into = Path(f"logs_{benchmark}_{stamp}")
    with Links(marks=cluster.marks) as links:
        there = found.listed(links, cluster.nodes, benchmark)
        chosen = found.of_stamp(there.values, stamp)
        if not any(chosen.values()):
            raise _nothing(benchmark, stamp, there.values, there.errors)
        wanted = found.with_newest(chosen, there.values, cluster.front.name)
        got = found.fetched(links, cluster, wanted, into)
    errors = {**there.errors, **got.errors}
    newest = [log.name for log in wanted.get(cluster.front.name, ())][
        len(chosen.get(cluster.front.name, ())) :
    ]
    if context.json:
        show_json({"folder": into, "files": got.values, "newest": newest, "errors": errors})
    else:
        show_folded(
            {
                name: ", ".join(str(path.relative_to(into / name)) for path in paths)
                for name, paths in got.values.items()
            }
        )
        if newest and cluster.front.name in got.values:
            show(
                f"{cluster.front.name}: {', '.join(newest)} for being among its newest, not for its name"
            )
        show(f"{sum(map(len, got.values.values()))} logs verified in {into}/")
    expect_no_errors(errors, len(cluster.nodes), "the logs are not complete")


def _nothing(
    benchmark: str,
    stamp: str,
    logs: Mapping[str, Sequence[Log]],
    errors: Mapping[str, CloisterError],
) -> CloisterError:
    from cloister.results.benchmark_logs import places_text, stamps

    for error in errors.values():
        say(str(error))
    there = stamps(logs)[-_NEAREST:]
    known = f"there are logs of {', '.join(there)}" if there else "there are no logs at all"
    return CloisterError(
        f"no log *_{stamp}.log of {benchmark} on {len(logs)} nodes; looked in {places_text(benchmark)}",
        hint=f"{known}; what run_experiment.py ran from this machine is in results/{benchmark} here",
    )


@click.command("erase-logs", epilog="Example: cloister erase-logs ring 01312026_1200")
@click.argument("benchmark", metavar="BENCH")
@click.argument("stamp", metavar="RUN_OR_TIMESTAMP")
@config_options
@wait_option
@json_option
@with_context
def erase_logs(context: Context, benchmark: str, stamp: str) -> None:
    """Remove the logs *_TIMESTAMP.log of a benchmark from all nodes, and say which."""
    _erase(context, benchmark, stamp, sure=True)


@click.command("erase-all-logs", epilog="Example: cloister erase-all-logs ring")
@click.argument("benchmark", metavar="BENCH")
@click.option(
    "--yes", is_flag=True, help="Do not ask; where there is no terminal, nothing is asked."
)
@config_options
@wait_option
@json_option
@with_context
def erase_all_logs(context: Context, benchmark: str, yes: bool) -> None:
    """Remove every log of a benchmark from all nodes, and say which."""
    _erase(context, benchmark, None, sure=yes or not sys.stdin.isatty())


def _erase(context: Context, benchmark: str, stamp: str | None, *, sure: bool) -> None:
    from cloister.cli.failures import expect_no_errors, show_folded
    from cloister.cluster.lock import holding
    from cloister.results import benchmark_logs as found
    from cloister.transport.links import Links

    found.checked(benchmark, stamp)
    cluster = context.cluster()
    with (
        # A run that is under way writes what would be removed.
        holding(
            cluster.name, "cloister erase-logs", state=context.state, wait_s=context.wait_s, say=say
        ),
        Links(marks=cluster.marks) as links,
    ):
        there = found.listed(links, cluster.nodes, benchmark)
        doomed = found.of_stamp(there.values, stamp) if stamp else dict(there.values)
        count = sum(map(len, doomed.values()))
        question = f"remove {count} logs of {benchmark}?"
        if count and not sure and not click.confirm(question, err=True):
            raise CloisterError("nothing was erased", hint="--yes does not ask")
        done = found.erased(links, cluster, doomed)
    errors = {**there.errors, **done.errors}
    if context.json:
        show_json(
            {
                "erased": {name: [log.path for log in logs] for name, logs in done.values.items()},
                "errors": errors,
            }
        )
    else:
        show_folded(
            {
                name: f"erased {', '.join(log.name for log in logs)}"
                for name, logs in done.values.items()
            }
        )
        if not count:
            show(f"nothing to erase; looked in {found.places_text(benchmark)}")
    expect_no_errors(errors, len(cluster.nodes), "the logs were not erased")
