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
from cloister.transport.fanout import FanOut, fan_out
from cloister.transport.links import Links
from cloister.transport.manifest import manifest
from cloister.transport.rsync import pull
from cloister.transport.sync import Synced, differing, sync
from cloister.transport.transfer import find, put

# Of each folder. A key at its top is what the first cloister left there, and no node gets any; what
# benchmarks have logged on a node is not the development instance's to delete.
_KEYS, _LOGS = "/*.pem", "/experiments/cpp/*/*.log"
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
        say(f"sync {target} → {target}")
        living = [node for node in nodes if node.name not in errors]
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
    source = manifest(path, [_KEYS, _LOGS], gitignore=False)
    keeping = [node for node in nodes if _holds_work(links, node, target)]
    mirrored = [node for node in nodes if node not in keeping]
    parts = [
        sync(links, mirrored, source, target),
        sync(links, keeping, source, target, delete=False),
    ]
    values = {name: synced for part in parts for name, synced in part.values.items()}
    errors = {name: error for part in parts for name, error in part.errors.items()}

    def verify(node: Node) -> None:
        if wrong := differing(links.channel(node), source, target):
            names = ", ".join(wrong[:_NAMED])
            raise NodeError(node.name, f"{len(wrong)} files are not as they were sent: {names}")

    there = [node for node in nodes if node.name in values]
    errors |= fan_out(there, verify, at_once=links.at_once).errors
    return FanOut(
        values={node.name: values[node.name] for node in there if node.name not in errors},
        errors=errors,
    )


def _holds_work(links: Links, node: Node, target: str) -> bool:
    """Whether the target has what cloister itself, or an experiment, keeps on the node."""
    channel = links.channel(node)
    return f"{channel.folder}/".startswith(f"{channel.home}{target.removeprefix('~')}/")


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
