"""One configuration file, read: its bytes, and its values with their places."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cloister.config.located import Located, Reading
from cloister.config.problems import Place, Problem
from cloister.config.reading_json import read_json
from cloister.config.reading_toml import read_toml
from cloister.config.reading_yaml import read_yaml
from cloister.config.seed_json import converted, is_seed

FILE_BYTES_MAX = 16 * 2**20

_READERS = {".yaml": read_yaml, ".yml": read_yaml, ".json": read_json, ".toml": read_toml}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """`tree` is a table, or None if the file gave none; then `problems` says why."""

    file: Path
    content: bytes
    tree: Located | None
    problems: tuple[Problem, ...]
    # Of an old format: what of the file is not done, a line each.
    notes: tuple[str, ...] = ()


def read(file: Path) -> Source:
    """Never raises for what is in or behind the file."""
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        return _unreadable(file, f"the suffix must be one of {known}; it decides the format")
    try:
        content = _content(file)
        text = content.decode("utf-8-sig")
    except OSError as error:
        return _unreadable(file, f"cannot read the file: {error.strerror or error}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return _unreadable(file, f"not UTF-8: byte 0x{error.object[error.start]:02x}", line)
    except ValueError as error:
        return _unreadable(file, str(error))
    return _checked(file, content, reader(text, file))


def _content(file: Path) -> bytes:
    if file.is_dir():
        raise ValueError("expected a file, found a folder")
    if file.exists() and not file.is_file():
        # Opening a pipe would wait for its writer.
        raise ValueError("expected a file, found a device or a pipe")
    with file.open("rb") as stream:
        content = stream.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"the file is larger than {FILE_BYTES_MAX // 2**20} MB")
    return content


def _checked(file: Path, content: bytes, reading: Reading) -> Source:
    tree, problems = reading.tree, reading.problems
    if tree is None or tree.value is None:
        tree, problems = None, problems or (_problem(file, "the file is empty"),)
    elif not isinstance(tree.value, dict):
        message = "expected a table (key: value) as the whole file"
        problems = (*problems, _problem(file, message, tree.place.line))
        tree = None
    if tree is not None and is_seed(tree):
        old = converted(tree)
        return Source(file=file, content=content, tree=old.tree, problems=problems, notes=old.notes)
    return Source(file=file, content=content, tree=tree, problems=problems)


def _unreadable(file: Path, message: str, line: int = 1) -> Source:
    return Source(file=file, content=b"", tree=None, problems=(_problem(file, message, line),))


def _problem(file: Path, message: str, line: int = 1) -> Problem:
    return Problem(place=Place(file=file, line=line), key="", message=message)
