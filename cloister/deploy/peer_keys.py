"""The front node may log in to the others, as MPI needs it: with a key made on it, which never leaves it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from cloister.cluster import Cluster
from cloister.errors import CloisterError, NodeError
from cloister.plan.observed import Node
from cloister.transport.channel import Channel
from cloister.transport.fanout import FanOut, fan_out
from cloister.transport.links import Links
from cloister.transport.transfer import put

_WITHIN_S = 60.0
_SSH_PORT = 22
# Prints the public key. One with a passphrase cannot be used by programs, and makes ssh-keygen fail.
_PUBLIC_KEY = """
umask 077
mkdir -p ~/.ssh || exit 1
for name in id_ed25519 id_ecdsa id_rsa; do
  [ ! -f ~/.ssh/$name ] || break
done
if [ ! -f ~/.ssh/$name ]; then
  name=id_ed25519
  ssh-keygen -q -t ed25519 -N '' -C "$1" -f ~/.ssh/$name || exit 1
fi
exec ssh-keygen -y -P '' -f ~/.ssh/$name
"""
_READ = 'umask 077; mkdir -p ~/.ssh || exit 1; cat ~/.ssh/"$1" 2>/dev/null || [ ! -e ~/.ssh/"$1" ]'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lent:
    """`key` is the front node's public key; True for nodes to which it was new."""

    front: Node
    key: str
    nodes: FanOut[bool]


def introduce(links: Links, cluster: Cluster) -> Lent:
    """The front node's key to the workers, their host keys to it; doing it again changes nothing.

    CloisterError if a worker's host key is not pinned here, so that it could not be vouched for.
    """
    front, workers = cluster.front, cluster.workers
    unknown = [node.name for node in workers if not node.host_key]
    if unknown:
        raise CloisterError(
            f"the host keys of {', '.join(unknown)} are not known here",
            hint="`cloister launch` pins them",
        )
    channel = links.channel(front)
    key = _said(channel, _PUBLIC_KEY, f"cloister {cluster.name}").strip()
    _write_block(channel, "known_hosts", cluster.name, [_host_line(node) for node in workers])
    _write_block(channel, "config", cluster.name, _config_lines(front, workers), at_top=True)

    def admit(node: Node) -> bool:
        return _write_block(links.channel(node), "authorized_keys", cluster.name, [key])

    return Lent(front=front, key=key, nodes=fan_out(workers, admit, at_once=links.at_once))


def _host_line(node: Node) -> str:
    port = node.port or _SSH_PORT
    names = dict.fromkeys((node.private_address, node.address))
    if port != _SSH_PORT:
        return f"{','.join(f'[{name}]:{port}' for name in names)} {node.host_key}"
    return f"{','.join(names)} {node.host_key}"


def _config_lines(front: Node, nodes: Iterable[Node]) -> list[str]:
    """What ssh cannot guess of the nodes, and MPI cannot be told: another port or user."""
    lines = []
    for node in nodes:
        options = [f"  Port {node.port}"] if node.port not in (None, _SSH_PORT) else []
        options += [f"  User {node.user}"] if node.user and node.user != front.user else []
        if options:
            names = dict.fromkeys((node.private_address, node.address))
            lines += [f"Host {' '.join(names)}", *options]
    # What follows in the file is about all hosts again.
    return [*lines, "Host *"] if lines else []


def _write_block(
    channel: Channel, name: str, cluster: str, lines: Sequence[str], *, at_top: bool = False
) -> bool:
    """Have the cluster's block in ~/.ssh/NAME say exactly this; False if it did. The rest stays."""
    before = _said(channel, _READ, name)
    after = with_block(before, cluster, lines, at_top=at_top)
    if after != before:
        put(channel, after.encode("utf-8", "surrogateescape"), f"~/.ssh/{name}", mode=0o600)
    else:
        channel.start(["chmod", "600", "--", f"{channel.home}/.ssh/{name}"]).wait(_WITHIN_S)
    return after != before


def with_block(text: str, cluster: str, lines: Sequence[str], *, at_top: bool = False) -> str:
    """The text with the cluster's block replaced; without a public key that stands elsewhere in it.

    at_top: where the first of several values counts, as in ssh's configuration.
    """
    begin, end = f"# cloister {cluster}: begin", f"# cloister {cluster}: end"
    before = text.removesuffix("\n").split("\n") if text else []
    others = _without(before, begin, end)
    known = {_key(line) for line in others} - {None}
    missing = [line for line in lines if _key(line) not in known]
    if not missing and others == before:
        return text
    block = [begin, *missing, end] if missing else []
    whole = [*block, *others] if at_top else [*others, *block]
    return "".join(f"{line}\n" for line in whole)


def _without(lines: list[str], begin: str, end: str) -> list[str]:
    """A mark without the other one, which somebody removed, says nothing about what lies between."""
    if begin in lines and end in lines[lines.index(begin) :]:
        at = lines.index(begin)
        return lines[:at] + lines[lines.index(end, at) + 1 :]
    return [line for line in lines if line not in (begin, end)]


def _key(line: str) -> tuple[str, ...] | None:
    """Of a public key its kind and data, without the comment; None of any other line."""
    words = line.split()
    return tuple(words[:2]) if words and words[0].startswith(("ssh-", "ecdsa-")) else None


def _said(channel: Channel, script: str, argument: str) -> str:
    outcome = channel.start(["/bin/sh", "-c", script, "sh", argument]).wait(_WITHIN_S)
    if not outcome.ok:
        words = outcome.stderr.decode("utf-8", "replace").strip()
        raise NodeError(
            channel.node.name,
            f"preparing ~/.ssh: {words or outcome}",
            hint="a key with a passphrase is no use to programs: move it away, and another one is made",
        )
    return outcome.stdout.decode("utf-8", "surrogateescape")
