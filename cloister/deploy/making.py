"""`make` in one folder of many nodes at once."""

from __future__ import annotations

from collections.abc import Sequence

from cloister.plan.observed import Node
from cloister.transport.fanout import FanOut
from cloister.transport.links import Links
from cloister.transport.process import Outcome

MAKE_WITHIN_S = 3600.0
LAST_LINES = 20
# Exit status of the shell when there is no folder, apart from all that make itself has.
NO_FOLDER = 98


def make(links: Links, nodes: Sequence[Node], folder: str) -> FanOut[Outcome]:
    """What the compiler says is in the outcomes; `folder` is below each node's work folder."""
    script = f'cd -- "$1" 2>/dev/null || exit {NO_FOLDER}; exec make 2>&1'
    return links.run(nodes, ["/bin/sh", "-c", script, "sh", folder], timeout_s=MAKE_WITHIN_S)


def last_lines(outcome: Outcome) -> str:
    lines = outcome.stdout.decode("utf-8", "replace").splitlines()
    return "\n".join([line for line in lines if line.strip()][-LAST_LINES:])
