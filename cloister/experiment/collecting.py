"""After a trial: its files fetched and checked, and whether the nodes had room for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloister.errors import CloisterError
from cloister.experiment.record import Artifact
from cloister.experiment.running import STOP_MARGIN_S, Running, TrialFailed
from cloister.transport.channel import Pending
from cloister.transport.transfer import Fetch, Found

COLLECT_WITHIN_S = 600.0
# With less on its disk a node cannot have written its logs for certain. The last write before a full
# disk takes what there is, so that what is left then is less than a page or two.
DISK_FREE_BYTES_MIN = 16 << 10


def collect(
    everything: Sequence[Running], folder: Path
) -> tuple[tuple[Artifact, ...], TrialFailed | None]:
    """Find, fetch and check all files; one that cannot be had does not cost the others."""
    failure: TrialFailed | None = None
    artifacts: list[Artifact] = []
    finds: list[tuple[Running, str, str, Pending]] = []
    fetches: list[tuple[Running, str, Fetch]] = []
    for running, where, prefix, patterns in _searches(everything):
        # Logs are in a folder of the trial; other files, if older than the process, are another trial's.
        since = running.outcome.started_at if prefix and running.outcome else 0.0
        try:
            reply = running.channel.begin("find", root=where, patterns=patterns, since=since)
            finds.append((running, where, prefix, reply))
        except CloisterError as error:
            failure = failure or _uncollected(running, error)
    for running, where, prefix, reply in finds:
        try:
            for found in [Found(**entry) for entry in reply.wait(COLLECT_WITHIN_S)]:
                path = f"{running.label}/{prefix}{found.path}"
                channel = running.channel
                fetch = Fetch(channel, f"{where}/{found.path}", folder / path)
                fetches.append((running, path, fetch))
        except (CloisterError, OSError) as error:
            failure = failure or _uncollected(running, error)
    for running, path, fetch in fetches:
        try:
            artifacts.append(_fetched(running, path, fetch))
        except (CloisterError, OSError) as error:
            failure = failure or _uncollected(running, error)
    return tuple(artifacts), failure


def _searches(everything: Sequence[Running]) -> Iterator[tuple[Running, str, str, list[str]]]:
    """Of each process that can be asked: where to look, the artifacts' prefix, the patterns."""
    for running in everything:
        if not running.can_be_asked:
            continue
        yield running, running.logs, "", ["*.log"]
        if running.instance.collect:
            yield running, running.instance.folder, "files/", list(running.instance.collect)


class DiskSpace:
    """Room on the nodes' disks, asked before the logs are fetched and answered meanwhile."""

    def __init__(self, everything: Sequence[Running]) -> None:
        self._asked: dict[str, Pending] = {}
        for running in everything:
            name = running.instance.node.name
            if running.can_be_asked and name not in self._asked:
                with contextlib.suppress(CloisterError):
                    self._asked[name] = running.channel.begin("facts")

    def judged(self, failure: TrialFailed | None) -> TrialFailed | None:
        """A node without room is at fault, whatever came of it: logs may end too early even where all
        ended well."""
        for node, reply in self._asked.items():
            try:
                free = int(reply.wait(STOP_MARGIN_S)["disk_free_bytes"])
            except CloisterError:
                # It went away meanwhile, which collecting its logs has noticed.
                continue
            if free < DISK_FREE_BYTES_MIN:
                seen = f" (seen as: {failure.reason})" if failure else ""
                reason = f"{node}: the disk of its work folder is full, {free} bytes are free{seen}"
                return TrialFailed("invalid", reason, failure.guilty if failure else None)
        return failure


def _uncollected(running: Running, error: Exception) -> TrialFailed:
    return TrialFailed("invalid", f"collecting from {running.label} failed: {error}")


def _fetched(running: Running, path: str, fetch: Fetch) -> Artifact:
    # The hash was taken on the node as the file was read for sending, and checked on arrival.
    got = fetch.finish(COLLECT_WITHIN_S)
    return Artifact(
        path=path,
        node=running.instance.node.name,
        process=running.instance.process,
        size=got.size,
        sha256=got.sha256,
    )
