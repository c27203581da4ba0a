"""A shell user's parallelism: one command per node under `xargs -P`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from peers.protocol import Bed

# xargs puts the node's address here.
ADDRESS = "{}"


def xargs(bed: Bed, arguments: Sequence[str]) -> None:
    """All nodes at once; a CalledProcessError with what they said if one fails."""
    subprocess.run(
        ["xargs", "-P", str(len(bed.nodes)), f"-I{ADDRESS}", *arguments],
        input="\n".join(bed.addresses),
        text=True,
        capture_output=True,
        check=True,
    )
