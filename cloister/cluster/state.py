"""Where cloister keeps what it knows on this machine: a convenience, with everything below one folder."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """$CLOISTER_STATE, or cloister/ below $XDG_STATE_HOME, or ~/.local/state/cloister; not created."""
    if given := os.environ.get("CLOISTER_STATE"):
        return Path(given).absolute()
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    return (base / "cloister").absolute()


def clusters_folder(state: Path) -> Path:
    # Absolute, because processes are recognised by the path; without links, because /proc has none.
    return state.resolve() / "clusters"


def locks_folder(state: Path) -> Path:
    return state.resolve() / "locks"
