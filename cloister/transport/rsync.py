"""rsync, for what changed a little: large files to a node, whole folders from a machine that is no node."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cloister.errors import CloisterError, NodeError
from cloister.plan.observed import Node

# Without a byte for so long, the other side is lost.
SILENT_S = 60
SAID_LINES = 8


def send_files(
    node: Node, ssh_config: Path, source: Path, paths: Sequence[str], target: str
) -> None:
    """Bring the named files below `source` to `target` on the node, sending only what differs in them.

    target: absolute.  ssh_config: the cluster's, in which the node has its name and its pinned host key.
    """
    command = [
        "rsync",
        "--archive",
        # That they differ is known, also where size and second are the same: look at the content.
        "--ignore-times",
        "--from0",
        "--files-from=-",
        "--rsh=" + shlex.join(["ssh", "-F", str(ssh_config)]),
        f"{source}/",
        f"{node.name}:{target}/",
    ]
    names = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths)
    result = subprocess.run(command, input=names, capture_output=True, check=False)
    if result.returncode:
        words = result.stderr.decode("utf-8", "replace").strip()
        raise NodeError(
            node.name,
            f"rsync of {len(paths)} files to {target} failed ({result.returncode}): {words[-500:]}",
        )


def pull(
    ssh: Sequence[str], host: str, names: Sequence[str], folder: Path, exclude: Sequence[str] = ()
) -> None:
    """Make the named files and folders below the home on `host` the same below `folder`; gone ones go.

    ssh: the command without the host.  exclude: rsync's patterns.  CloisterError with what rsync said.
    """
    place = f"[{host}]" if ":" in host else host
    # What is right of /./ is the path below the folder, of files in subfolders too.
    sources = [f"{place if number == 0 else ''}:./{name}" for number, name in enumerate(names)]
    command = [
        "rsync",
        "--archive",
        "--no-owner",
        "--no-group",
        "--no-devices",
        "--no-specials",
        "--relative",
        "--delete",
        f"--timeout={SILENT_S}",
        *(f"--exclude={pattern}" for pattern in exclude),
        "--rsh=" + shlex.join(ssh),
        "--",
        *sources,
        f"{folder}/",
    ]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise CloisterError(
            f"copying from {host}: this machine has no rsync", hint="install the package rsync"
        ) from None
    if result.returncode:
        words = result.stderr.decode("utf-8", "replace").strip()
        raise CloisterError(
            f"copying {', '.join(names)} from {host}: rsync ended with {result.returncode}:\n"
            + "\n".join(f"    {line}" for line in words.splitlines()[-SAID_LINES:])
        )
