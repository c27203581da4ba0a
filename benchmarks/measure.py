"""One peer, one case, one round, in a process of its own: reads a JSON order, prints JSON samples."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

from cases import CASES
from meter import Meter
from peers import ENTRIES
from peers.protocol import Bed, Node

MARK = "CLOISTER_BENCHMARK"


def main() -> None:
    order = json.load(sys.stdin)
    # Whatever a library prints goes to standard error; the answer alone to standard output.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    entry = next(entry for entry in ENTRIES if entry.name == order["peer"])
    peer = entry.load()
    root = Path(order["root"])
    bed = Bed(
        nodes=tuple(Node(**node) for node in order["nodes"]),
        ssh_config=root / "ssh_config",
        known_hosts=root / "known_hosts",
        scratch=Path(order["scratch"]),
    )
    meter = Meter(order["sshd_pids"], f"{MARK}={os.environ[MARK]}")
    try:
        samples = CASES[order["case"]](peer, bed, meter, lambda node: root / node.name / "home")
    finally:
        peer.close()
    with answer:
        json.dump([dataclasses.asdict(sample) for sample in samples], answer)


if __name__ == "__main__":
    main()
