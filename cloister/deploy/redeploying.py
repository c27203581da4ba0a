"""Code onto the nodes anew: from the development instance through this machine, or from this machine.

Never from node to node: for that, one of them would need a private key, or this machine's SSH agent.
"""

from __future__ import annotations

import dataclasses
import glob
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloister.cluster.development import Development
from cloister.config.spec import SyncSpec
from cloister.deploy.deploying import deploy, facts_of
from cloister.errors import CloisterError, NodeError
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.fanout import FanOut, fan_out
from cloister.transport.fold import fold
from cloister.transport.links import Links
from cloister.transport.manifest import manifest
from cloister.transport.rsync import pull
from cloister.transport.sync import Synced, differing, sync
from cloister.transport.transfer import find, put

# Of each folder. A key at its top is what the first cloister left there, and no node gets any; what
# benchmarks have logged on a node is not the development instance's to delete.
_KEYS, _LOGS = "/*.pem", "/experiments/cpp/*/*.log"
# In a work folder: the names of this cluster's nodes, and what cloister runs there.
_OWN = ("servers/", ".cloister/")
_NAMED = 3

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Redeployed:
    """`synced`: target → node → what it got there. A node of `errors` got nothing after its error."""

    synced: Mapping[str, Mapping[str, Synced]]
    errors: Mapping[str, CloisterError]


def redeploy_development(
    links: Links, nodes: Sequence[Node], development: Development, folder: Path, *, say: Say
) -> Redeployed:
    """The development instance's folders to `folder` here, and from there below each node's home.

    What is gone there goes, except in the nodes' work folder. Every file is verified on every node.
    """
    names = development.folders
    say(f"copying {', '.join(names)} from {development.address}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    excluded = [".git/", *(f"/{name}{pattern}" for name in names for pattern in (_KEYS, _LOGS))]
    pull(development.ssh(), development.address, names, folder, excluded)
    synced: dict[str, Mapping[str, Synced]] = {}
    errors = dict(links.open_all(nodes).errors)
    for name in names:
        target = f"~/{name}"
        living = [node for node in nodes if node.name not in errors]
        say(f"{target} → {fold(node.name for node in living) or 'no node'}")
        result = _bring(links, living, folder / name, target)
        synced[target] = result.values
        errors |= result.errors
    return Redeployed(synced=synced, errors=errors)


def redeploy_here(
    links: Links, nodes: Sequence[Node], specs: Sequence[SyncSpec], cache: Path, *, say: Say
) -> Redeployed:
    """The configured sources, built as `cloister sync` builds them; a node that fails is left out."""
    failed: dict[str, CloisterError] = dict(links.open_all(nodes).errors)
    living = [node for node in nodes if node.name not in failed]
    deployed = deploy(links, living, specs, facts_of(links, living), cache, say=say, failed=failed)
    synced = {target: result.values for target, result in deployed.synced.items()}
    return Redeployed(synced=synced, errors=failed)


def _bring(links: Links, nodes: Sequence[Node], path: Path, target: str) -> FanOut[Synced]:
    if path.is_symlink() or not path.exists():
        raise CloisterError(
            f"{target} on the development instance is a symbolic link, or nothing that can be copied",
            hint="name what it points to in cluster.ec2.development.folders",
        )
    if not path.is_dir():
        return fan_out(
            nodes, lambda node: _put_file(links, node, path, target), at_once=links.at_once
        )
    below = fan_out(nodes, lambda node: _work_below(links.channel(node), target))
    values, errors = dict[str, Synced](), dict(below.errors)
    for work in dict.fromkeys(below.values.values()):
        alike = [node for node in nodes if node.name in below.values]
        alike = [node for node in alike if below.values[node.name] == work]
        result = _mirrored(links, alike, path, target, work)
        values |= result.values
        errors |= result.errors
    return FanOut(values=values, errors=errors)


def _work_below(channel: Channel, target: str) -> str | None:
    """Where the node's work folder is below the target; None if it is elsewhere."""
    top, folder = f"{channel.home}{target.removeprefix('~')}/", f"{channel.folder}/"
    return folder.removeprefix(top).rstrip("/") if folder.startswith(top) else None


def _mirrored(
    links: Links, nodes: Sequence[Node], path: Path, target: str, work: str | None
) -> FanOut[Synced]:
    """Without deleting anything where cloister and experiments keep what is theirs."""
    own = [] if work is None else [posixpath.join("/", work, name) for name in _OWN]
    source = manifest(path, [_KEYS, _LOGS, *own], gitignore=False)
    synced = sync(links, nodes, source, target, delete=work is None)

    def verify(node: Node) -> None:
        if wrong := differing(links.channel(node), source, target):
            names = ", ".join(wrong[:_NAMED])
            raise NodeError(node.name, f"{len(wrong)} files are not as they were sent: {names}")

    there = [node for node in nodes if node.name in synced.values]
    wrong = fan_out(there, verify, at_once=links.at_once).errors
    return FanOut(
        values={name: entry for name, entry in synced.values.items() if name not in wrong},
        errors={**synced.errors, **wrong},
    )


def _put_file(links: Links, node: Node, path: Path, target: str) -> Synced:
    channel = links.channel(node)
    folder, name = posixpath.split(target)
    status = path.stat()
    mode = status.st_mode & 0o7777
    digest = _sha256(path)
    found = find(channel, folder, [glob.escape(name)])
    if any((there.sha256, there.mode) == (digest, mode) for there in found):
        return Synced(sent=0, sent_bytes=0, deleted=0, unchanged=1)
    put(channel, path, target, mode=mode)
    return Synced(sent=1, sent_bytes=status.st_size, deleted=0, unchanged=0)


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
