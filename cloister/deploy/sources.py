"""Where deployed code came from: the git commit, and the diff of a tree with changes."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

GIT_WITHIN_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """`commit` is empty outside git; `diff` is against it, with untracked files listed at its end."""

    folder: Path
    target: str
    key: str
    commit: str
    diff: bytes

    @property
    def dirty(self) -> bool:
        return bool(self.diff)


def source_of(folder: Path, target: str, key: str) -> Source:
    """What git knows about the folder; nothing if there is no git or no commit."""
    commit = _git(folder, "rev-parse", "HEAD").decode("ascii", "replace").strip()
    diff = b""
    if commit:
        diff = _git(folder, "diff", "--binary", "HEAD", "--", ".")
        untracked = _git(folder, "ls-files", "--others", "--exclude-standard", "--", ".")
        if untracked:
            diff += b"# untracked files (their content is part of the build key):\n"
            diff += b"".join(b"# " + line + b"\n" for line in untracked.splitlines())
    return Source(folder=folder, target=target, key=key, commit=commit, diff=diff)


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            timeout=GIT_WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return result.stdout if result.returncode == 0 else b""
