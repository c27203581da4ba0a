"""`run`: the trials that are missing, with a display of how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cloister.cli.context import Context
from cloister.cli.options import config_options, json_option, wait_option, with_context
from cloister.cli.output import say, seconds_text, show, show_json
from cloister.errors import PartlyDone, UsageError

if TYPE_CHECKING:
    from cloister.cluster import Cluster


@click.command(epilog="Example: cloister run -c configs/experiments/ring.yaml -e ring")
@config_options
@click.option(
    "-e", "--experiment", "names", multiple=True, help="Only this experiment; repeatable."
)
@click.option(
    "--accept-changed",
    is_flag=True,
    help="Keep complete trials that were measured with other code or commands.",
)
@wait_option
@json_option
@with_context
def run(context: Context, names: tuple[str, ...], accept_changed: bool) -> None:
    """Run the trials that have no verified result yet.

    Failed trials are recorded as such, the others go on; the exit status is then 3. Interrupt it
    whenever you like: running again continues.
    """
    from cloister.cli.progress import Progress
    from cloister.cluster.lifecycle import priced
    from cloister.cluster.lock import holding
    from cloister.results.conduct import conduct
    from cloister.results.store import Store

    configuration = context.configuration()
    known = [experiment.name for experiment in configuration.experiments]
    if not known:
        raise UsageError(
            "the configuration has no experiments", hint="name their file with -c as well"
        )
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no experiment {unknown[0]!r}", hint=f"there are {', '.join(known)}")
    chosen = [e for e in configuration.experiments if not names or e.name in names]
    cluster = priced(context.cluster(), state=context.state)
    store = Store(context.results_folder(configuration))
    with (
        holding(cluster.name, "cloister run", state=context.state, wait_s=context.wait_s, say=say),
        Progress() as progress,
    ):
        done = conduct(
            chosen,
            configuration.deploy,
            cluster,
            store,
            configuration={path.name: path.read_bytes() for path in configuration.files},
            accept_changed=accept_changed,
            expect_time=lambda seconds: _expect_time(context, cluster, seconds),
            watcher=progress.watcher(),
        )
    if context.json:
        show_json(done)
    else:
        show(
            f"{done.complete} complete, {done.failed} failed, {done.invalid} invalid, "
            f"{done.skipped} were complete already; {seconds_text(done.duration_s)}; in {store.folder}"
        )
    if not done.all_complete:
        raise PartlyDone(
            f"{done.failed + done.invalid} trials are no results",
            hint="`cloister report` shows why each failed; `cloister run` tries them again",
        )


def _expect_time(context: Context, cluster: Cluster, seconds: float) -> None:
    """Whether budget and lease will do for trials that probably take so long."""
    import time

    from cloister.cluster.lifecycle import expect_affordable

    expect_affordable(cluster, seconds, "the trials to run", state=context.state)
    if cluster.expires is not None and time.time() + seconds > cluster.expires:
        left = seconds_text(max(0.0, cluster.expires - time.time()))
        say(
            f"these trials may take {seconds_text(seconds)}, and the lease ends in {left}: `cloister extend`"
        )
