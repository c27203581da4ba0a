"""Ends all nodes of a server when the server ends, however it ends; a process of its own.

Its standard input is a pipe of which the server holds the other end. It also keeps the server's
claims to addresses open until the nodes are gone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from cloud import processes


def main(server: str, nodes: str) -> None:
    os.read(0, 1)
    processes.end([processes.of_server(server, Path(nodes))])


if __name__ == "__main__":
    main(*sys.argv[1:])
