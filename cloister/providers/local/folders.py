"""Where a local cluster and its nodes keep their files, and how a node is written down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cloister.durable import read_json, write_json
from cloister.plan.observed import Node
from cloister.providers.nodes import node_from_json, node_to_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeFolder:
    """The files of one node."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def home(self) -> Path:
        return self.path / "home"

    @property
    def config(self) -> Path:
        return self.path / "sshd_config"

    @property
    def host_key(self) -> Path:
        return self.path / "ssh_host_ed25519_key"

    @property
    def log(self) -> Path:
        return self.path / "sshd.log"

    @property
    def pid(self) -> Path:
        return self.path / "sshd.pid"

    @property
    def record(self) -> Path:
        return self.path / "node.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterFolder:
    """The files of one local cluster."""

    path: Path

    @property
    def nodes(self) -> Path:
        return self.path / "nodes"

    @property
    def client_key(self) -> Path:
        return self.path / "id_ed25519"

    @property
    def authorized_keys(self) -> Path:
        return self.path / "authorized_keys"

    @property
    def session(self) -> Path:
        return self.path / "session.sh"

    def node(self, name: str) -> NodeFolder:
        return NodeFolder(path=self.nodes / name)

    def all_nodes(self) -> list[NodeFolder]:
        if not self.nodes.is_dir():
            return []
        return [NodeFolder(path=path) for path in sorted(self.nodes.iterdir())]


def write_node(folder: NodeFolder, node: Node) -> None:
    """Not fsynced: a loss of power ends the node's processes too, and a node without record is removed."""
    write_json(folder.record, node_to_json(node), mode=0o600)


def read_node(folder: NodeFolder) -> Node | None:
    return node_from_json(read_json(folder.record))
