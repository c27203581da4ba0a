"""Logs that benchmarks leave on the nodes, in experiments/cpp/NAME: found, fetched, erased.

`run_experiment.py -l` on a node and the first cloister's scripts name them ROLE_TIMESTAMP.log; both places are
looked into, below the work folder and below ~/clamor. What a person names never becomes a pattern or a path:
every log of the folder is listed, and those that are meant are chosen here.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cloister.cluster import Cluster
from cloister.errors import UsageError
from cloister.experiment.benchmark import Benchmark
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.fanout import FanOut, fan_out
from cloister.transport.links import Links
from cloister.transport.transfer import Fetch, find

# The first cloister's place, below the home.
_CLAMOR = "clamor"
_LAYOUT = "experiments/cpp"
_STAMP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
# "Driver/manager may not have exactly the same timestamp", says the first cloister.
NEWEST = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Log:
    """A log on a node: `name` below `place`, which is absolute. Times in nanoseconds of the node's clock."""

    place: str
    name: str
    size: int
    mtime_ns: int

    @property
    def path(self) -> str:
        return posixpath.join(self.place, self.name)

    @property
    def stamp(self) -> str:
        """The text between role and suffix; empty if there is none."""
        return self.name.removesuffix(".log").partition("_")[2]


Logs = Mapping[str, Sequence[Log]]


def places_text(benchmark: str) -> str:
    """Where is looked, for a person."""
    return f"{_LAYOUT}/{benchmark} below the work folder, and ~/{_CLAMOR}/{_LAYOUT}/{benchmark}"


def checked(benchmark: str, stamp: str | None = None) -> None:
    """UsageError for what can be neither a benchmark's name nor a timestamp."""
    try:
        Benchmark(name=benchmark)
    except UsageError as error:
        raise UsageError(error.message.removeprefix("-b "), hint=error.hint) from None
    if stamp is not None and not _STAMP.fullmatch(stamp):
        raise UsageError(
            f"{stamp!r} is not a timestamp",
            hint="what a log has between its role and .log, such as 01312026_1200",
        )


def listed(links: Links, nodes: Sequence[Node], benchmark: str) -> FanOut[tuple[Log, ...]]:
    """Every log of the benchmark on each node."""
    return fan_out(nodes, lambda node: _logs(links.channel(node), benchmark), at_once=links.at_once)


def _logs(channel: Channel, benchmark: str) -> tuple[Log, ...]:
    places = [
        posixpath.join(base, _LAYOUT, benchmark)
        for base in (channel.folder, posixpath.join(channel.home, _CLAMOR))
    ]
    return tuple(
        Log(place=place, name=found.path, size=found.size, mtime_ns=found.mtime_ns)
        for place in dict.fromkeys(places)
        for found in find(channel, place, ["*.log"], hashed=False)
    )


def of_stamp(logs: Logs, stamp: str) -> dict[str, tuple[Log, ...]]:
    """Those named *_STAMP.log, by node; a run's identity may be written with its dashes."""
    ends = tuple(f"_{text}.log" for text in (stamp, stamp.replace("-", "_")))
    return {
        node: tuple(log for log in found if log.name.endswith(ends)) for node, found in logs.items()
    }


def with_newest(chosen: Logs, logs: Logs, node: str) -> dict[str, tuple[Log, ...]]:
    """With the newest logs of that node, which may be of the same run under another minute."""
    newest = sorted(logs.get(node, ()), key=lambda log: log.mtime_ns)[-NEWEST:]
    more = tuple(log for log in newest if log not in chosen.get(node, ()))
    return {
        **{name: tuple(found) for name, found in chosen.items()},
        node: (*chosen.get(node, ()), *more),
    }


def stamps(logs: Logs) -> list[str]:
    """Of all logs, the newest last."""
    ordered = sorted(
        (log for found in logs.values() for log in found), key=lambda log: log.mtime_ns
    )
    return list(dict.fromkeys(log.stamp for log in reversed(ordered) if log.stamp))[::-1]


def fetched(links: Links, cluster: Cluster, logs: Logs, into: Path) -> FanOut[tuple[Path, ...]]:
    """Each node's logs to a folder of its own in `into`, hashed on both sides."""

    def fetch(node: Node) -> tuple[Path, ...]:
        channel = links.channel(node)
        taken: set[Path] = set()
        for log in logs[node.name]:
            local = _free(into / node.name, log, taken)
            Fetch(channel, log.path, local).finish()
            taken.add(local)
        return tuple(sorted(taken))

    return fan_out(_having(cluster, logs), fetch, at_once=links.at_once)


def erased(links: Links, cluster: Cluster, logs: Logs) -> FanOut[tuple[Log, ...]]:
    """Remove exactly these files."""

    def erase(node: Node) -> tuple[Log, ...]:
        channel = links.channel(node)
        replies = [channel.begin("remove", path=log.path) for log in logs[node.name]]
        for reply in replies:
            reply.wait()
        return tuple(logs[node.name])

    return fan_out(_having(cluster, logs), erase, at_once=links.at_once)


def _having(cluster: Cluster, logs: Logs) -> list[Node]:
    return [node for node in cluster.nodes if logs.get(node.name)]


def _free(folder: Path, log: Log, taken: Collection[Path]) -> Path:
    """Its name; below another folder if a log of the other place has the same one."""
    path = folder / log.name
    return path if path not in taken else folder / _CLAMOR / log.name
