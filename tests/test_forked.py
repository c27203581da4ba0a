"""The process that the tests of commands share does not stay behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cloud.using import eventually

OWNER = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[1])
from forked import Program

status, output, errors = Program().run(["--version"], pathlib.Path.cwd(), os.environ, 60)
assert status == 0 and output, errors
print(pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text())
"""


def test_it_ends_with_its_owner() -> None:
    owner = [sys.executable, "-c", OWNER, str(Path(__file__).parent)]
    called = subprocess.run(owner, capture_output=True, text=True, timeout=90, check=True)
    [pid] = called.stdout.split()
    eventually(lambda: not _runs(int(pid)), "it has ended")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
