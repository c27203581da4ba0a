"""Changing the sshd of a local node that a test has for itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from eventually import eventually

from cloister.plan.observed import Node


def folder_of(node: Node) -> Path:
    """The node's folder: its sshd's configuration, log, keys and home are in it."""
    assert node.key is not None
    return Path(node.key).parent / "nodes" / node.name


def listener(node: Node) -> int:
    """The process that accepts the node's connections."""
    return int((folder_of(node) / "sshd.pid").read_text())


def log(node: Node) -> str:
    return (folder_of(node) / "sshd.log").read_text(errors="replace")


def configure(node: Node, lines: str) -> None:
    """Have these lines in place of those with the same keywords, and sshd read them."""
    config = folder_of(node) / "sshd_config"
    keywords = {line.split()[0] for line in lines.splitlines()}
    kept = [line for line in config.read_text().splitlines() if line.split()[0] not in keywords]
    config.write_text("\n".join([lines, *kept, ""]))
    said = log(node).count("Server listening")
    os.kill(listener(node), signal.SIGHUP)
    eventually(lambda: log(node).count("Server listening") > said, what="sshd listens again")
