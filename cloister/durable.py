"""Files that after a crash are either as before or as written, never in between."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_whole(
    path: Path, content: str | bytes, *, mode: int = 0o644, durably: bool = False
) -> None:
    """Replace the file; `durably` also survives a loss of power (fsync of file and folder)."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if durably:
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    if durably:
        sync_folder(path.parent)


def write_json(path: Path, data: Any, *, mode: int = 0o644, durably: bool = False) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    write_whole(path, text, mode=mode, durably=durably)


def read_json(path: Path) -> Any:
    """None if the file is missing or no longer JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
