"""Removes folders with all that programs left in them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cloister.errors import ProviderError

_ROUNDS_MAX = 5


def remove_tree(folder: Path) -> None:
    """Idempotent; read-only folders (Go's module cache, for instance) are made writable first."""
    for _ in range(_ROUNDS_MAX):
        if not os.path.lexists(folder):
            return
        try:
            _remove(folder)
        except PermissionError:
            _make_writable(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _not_removed(folder, error) from error
    if os.path.lexists(folder):
        try:
            _remove(folder)
        except OSError as error:
            raise _not_removed(folder, error) from error


def _remove(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def _make_writable(folder: Path) -> None:
    folder.chmod(0o700)
    for parent, names, _ in os.walk(folder):
        # Before the walk goes into them: a folder that cannot be read would end it.
        for name in names:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(0o700)


def _not_removed(folder: Path, error: OSError) -> ProviderError:
    return ProviderError(
        f"removing {folder}: {error.filename or folder}: {error.strerror}",
        hint="a mounted file system has to be unmounted first; then destroy again",
    )
