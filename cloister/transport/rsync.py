"""rsync, for large files that changed a little."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cloister.errors import NodeError
from cloister.plan.observed import Node


def send_files(
    node: Node, ssh_config: Path, source: Path, paths: Sequence[str], work_folder: str, target: str
) -> None:
    """Bring the named files below `source` to `target` on the node, sending only what differs in them.

    ssh_config: the cluster's, in which the node has its name and its pinned host key.
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
        f"{node.name}:{work_folder}/{target}/",
    ]
    names = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in paths)
    result = subprocess.run(command, input=names, capture_output=True, check=False)
    if result.returncode:
        words = result.stderr.decode("utf-8", "replace").strip()
        raise NodeError(
            node.name,
            f"rsync of {len(paths)} files to {target} failed ({result.returncode}): {words[-500:]}",
        )
