"""The end of nodes, or of a cluster with all that belongs to it, wherever it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cloister.errors import ProviderError
from cloister.plan.actions import Plan, Remove
from cloister.providers.ec2 import journal, swap
from cloister.providers.ec2.api import DENIED, Aws, AwsError
from cloister.providers.ec2.end import removing
from cloister.providers.ec2.lease.schedules import schedules
from cloister.providers.ec2.observing import Instance, Thing, instances, things
from cloister.providers.provider import NodeEvent, Report
from cloister.providers.record import forget
from cloister.providers.removing import remove_tree

# A group cannot go before everything that uses it, also what AWS does not show yet.
_REMOVE_WITHIN_S = 600.0
_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.1, 5.0
# What AWS shows for a moment after it is gone has no tags, so that a policy which asks for them denies it.
_DENIED_WITHIN_S = 10.0

Sleep = Callable[[float], None]


def end_nodes(aws: Aws, plan: Plan, regions: Iterable[str], report: Report, sleep: Sleep) -> None:
    """Those that the plan removes."""
    _announce(plan.removals, report)
    names = {removal.name for removal in plan.removals}
    end_instances(aws, plan.cluster, regions, names, _removed(report), sleep)


def end_instances(
    aws: Aws,
    cluster: str,
    regions: Iterable[str],
    names: set[str] | None,
    ended: Callable[[Instance], None],
    sleep: Sleep,
) -> list[Instance]:
    """End those of these nodes, or all, and wait until they have ended; those that there were."""
    where = list(regions)
    found = instances(aws, cluster, where)
    ours = [i for i in found if names is None or i.name in names]
    removing.terminate(aws, ours, sleep=sleep)
    ids = [i.id for i in ours if i.state != "terminated"]
    removing.await_ended(lambda: instances(aws, cluster, where), ids, ended=ended, sleep=sleep)
    return ours


def end_cluster(
    aws: Aws,
    plan: Plan,
    regions: Iterable[str],
    folder: Path,
    removed: set[Thing],
    report: Report,
    sleep: Sleep,
) -> None:
    """In these regions: instances, then what they used; the files here go last.

    removed: what this has removed before, although AWS may still have shown it.
    """
    _announce(plan.removals, report)
    entries = journal.Journal(folder / journal.FILE)
    journalled = [intent.region for intent in entries.recent_intents]
    everywhere = list(dict.fromkeys([*regions, *journalled]))
    _remove_everything(aws, plan.cluster, everywhere, entries, removed, report, sleep)
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name != "cluster.json":
                remove_tree(path)
        forget(folder)
        remove_tree(folder)


def all_things(
    aws: Aws, name: str, regions: Sequence[str], *, attached: bool = False
) -> list[Thing]:
    """Schedules too, for which another service has to be asked: only a destroy needs to know."""
    found = things(aws, name, regions, attached=attached)
    return [*found, *schedules(aws, name, regions)]


def _remove_everything(
    aws: Aws,
    name: str,
    regions: Sequence[str],
    entries: journal.Journal,
    removed: set[Thing],
    report: Report,
    sleep: Sleep,
) -> None:
    """Again and again, until nothing that is seen is in use and all that the journal tells of has been seen.

    Whether anything is left, or is shown late, the next look at the cluster tells.
    """
    seen = removing.Seen()
    denied_at: float | None = None

    def gone(thing: Thing) -> bool:
        """False if something still uses it, or if it may only be shown."""
        nonlocal denied_at
        try:
            return removing.remove(aws, thing, removed)
        except AwsError as error:
            denied_at = denied_at or time.monotonic()
            if error.code not in DENIED or time.monotonic() > denied_at + _DENIED_WITHIN_S:
                raise
            return False

    if any(intent.action == swap.CREATE for intent in entries.recent_intents):
        # Those that are attached go with their instances, and would be missed later.
        seen.note((), things(aws, name, regions, attached=True))
    ends_at = time.monotonic() + _REMOVE_WITHIN_S
    pause_s = _FIRST_PAUSE_S
    while True:
        ended = end_instances(aws, name, regions, None, _removed(report), sleep)
        rest = all_things(aws, name, regions, attached=True)
        seen.note(ended, rest)
        left = [thing for thing in rest if not gone(thing)]
        if not left and not seen.missing(entries.recent_intents):
            return
        users = [f"{one} by {user}" for one in left for user in removing.foreign_users(aws, one)]
        if users or time.monotonic() > ends_at:
            raise ProviderError(
                f"still in use: {', '.join(users or map(str, left))}",
                hint="that is not cloister's, which leaves it alone; take it out, then `cloister destroy` again",
            )
        sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_S_MAX)


def _announce(removals: Sequence[Remove], report: Report) -> None:
    for removal in removals:
        report(NodeEvent(node=removal.name, kind="removing", detail=removal.reason))


def _removed(report: Report) -> Callable[[Instance], None]:
    return lambda instance: report(NodeEvent(node=instance.name, kind="removed"))
