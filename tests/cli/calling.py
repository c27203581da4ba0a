"""The `cloister` command as a user has it: a process of its own, with files of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("cloister")
WITHIN_S = 90.0
# A child that has ended may leave its pseudo-terminal open for an instant.
_TERMINAL_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Called:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """Calls cloister in `folder`, with a state folder beside its files."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLOISTER_", "_CLOISTER"))}
        return {**kept, "CLOISTER_STATE": str(self.state), "TERM": "xterm", "COLUMNS": "100"}

    def __call__(self, *arguments: str, **env: str) -> Called:
        status, stdout, stderr = forked.PROGRAM.run(
            [str(argument) for argument in arguments],
            self.folder,
            {**self.environment, **env},
            WITHIN_S,
        )
        assert "Traceback" not in stderr, stderr
        return Called(status=status, stdout=stdout, stderr=stderr)

    def ok(self, *arguments: str, **env: str) -> Called:
        called = self(*arguments, **env)
        assert called.status == 0, called
        return called

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def in_terminal(self, *arguments: str, typed: str = "") -> tuple[int, str]:
        """Exit status and all that a terminal showed; `typed` once something was shown."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execve(PROGRAM, [str(PROGRAM), *arguments], self.environment)
        shown = b""
        ends_at = time.monotonic() + _TERMINAL_S
        try:
            while time.monotonic() < ends_at:
                if not select.select([terminal], [], [], 0.2)[0]:
                    continue
                # EIO is how a pseudo-terminal says that nobody has its other end any more.
                data = b""
                with contextlib.suppress(OSError):
                    data = os.read(terminal, 65536)
                if not data:
                    break
                shown += data
                if typed:
                    os.write(terminal, typed.encode())
                    typed = ""
        finally:
            os.close(terminal)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), shown.decode(errors="replace")


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 10.0) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)
