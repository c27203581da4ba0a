"""The peers: one module each, loaded only in the process that measures it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import re
import shutil
import subprocess

from peers.protocol import Peer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    module: str
    # Letters of the cases it takes part in, and why not in the others.
    cases: str
    leaves_out: str = ""
    package: str | None = None
    program: str | None = None

    def version(self) -> str | None:
        """None if it is not installed."""
        if self.package is not None:
            return _package_version(self.package)
        assert self.program is not None
        return _program_version(self.program)

    def load(self) -> Peer:
        return importlib.import_module(f"peers.{self.module}").peer()


def _package_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _program_version(program: str) -> str | None:
    if shutil.which(program) is None:
        return None
    flag = "-V" if program != "rsync" else "--version"
    said = subprocess.run([program, flag], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"\d+(\.\d+)+(p\d+)?", said.stdout + said.stderr)
    return found[0] if found else "?"


CLOISTER = "cloister"

ENTRIES = (
    Entry(name=CLOISTER, module="cloister_", package="cloister", cases="abcde"),
    Entry(
        name="fabric",
        module="fabric_",
        package="fabric",
        cases="abcde",
        leaves_out="c: it copies single files, so an archive is put and unpacked",
    ),
    Entry(name="parallel-ssh", module="parallel_ssh", package="parallel-ssh", cases="abcde"),
    Entry(name="asyncssh", module="asyncssh_", package="asyncssh", cases="abcde"),
    Entry(
        name="ssh2-python",
        module="ssh2_",
        package="ssh2-python",
        cases="abde",
        leaves_out="c: a protocol library, copies no folders",
    ),
    Entry(name="clustershell", module="clustershell", package="ClusterShell", cases="abcde"),
    Entry(
        name="pdsh",
        module="pdsh",
        program="pdsh",
        cases="abe",
        leaves_out="c, d: pdcp and rpdcp must be installed on every node",
    ),
    Entry(
        name="ansible",
        module="ansible_",
        package="ansible-core",
        cases="abde",
        leaves_out="c: copy sends each file by itself; synchronize is rsync and not in ansible-core",
    ),
    Entry(
        name="pyinfra",
        module="pyinfra_",
        package="pyinfra",
        cases="abde",
        leaves_out="c: files.sync was not through with two nodes after 60 s; files.rsync is rsync",
    ),
    Entry(
        name="mitogen",
        module="mitogen_",
        package="mitogen",
        cases="abde",
        leaves_out="c: copies no folders",
    ),
    Entry(
        name="openssh-xargs",
        module="openssh",
        program="ssh",
        cases="abde",
        leaves_out="c: see rsync",
    ),
    Entry(
        name="rsync-xargs",
        module="rsync_plain",
        program="rsync",
        cases="c",
        leaves_out="it copies and nothing else",
    ),
    Entry(
        name="rsync-multiplexed-xargs",
        module="rsync_multiplexed",
        program="rsync",
        cases="c",
        leaves_out="it copies and nothing else",
    ),
)
