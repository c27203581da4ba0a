"""The numbers of a trial, read from its logs and collected files.

Within one instance of a process `within` makes one number of several, then `across` makes one of
those of all instances. A metric is a number or it is missing, with the reason: a line that matches
but holds no plain number (`1,234.5`, `nan`) is a reason, never skipped.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloister.config.spec import MetricSpec, Reducer
from cloister.experiment.record import Artifact, TrialRecord

# A longer line is no measurement; reading it would fill the memory.
LINE_BYTES_MAX = 64 << 20
_SHOWN_CHARACTERS = 60

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INSTANCE = re.compile(r"(?P<process>.+)-(?P<number>[0-9]+)@(?P<node>.+)")
# Of these any instance may do; the others would be wrong without the number of each instance.
_CONTENT_WITH_SOME: frozenset[Reducer] = frozenset({"first", "last", "count"})

_REDUCERS: Mapping[Reducer, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1],
    "first": lambda values: values[0],
    "mean": statistics.fmean,
    "median": statistics.median,
    "sum": math.fsum,
    "min": min,
    "max": max,
    "count": lambda values: float(len(values)),
}


class _NoValue(Exception):
    """Why a metric has no value; never leaves this module."""


def metrics_of(
    folder: Path, artifacts: Iterable[Artifact], specs: Mapping[str, MetricSpec]
) -> tuple[dict[str, float], dict[str, str]]:
    """The value of each metric, and for those without one the reason."""
    values: dict[str, float] = {}
    missing: dict[str, str] = {}
    every = tuple(artifacts)
    for name, spec in specs.items():
        try:
            values[name] = _value(folder, every, spec)
        except _NoValue as why:
            missing[name] = str(why)
        except OSError as error:
            missing[name] = f"cannot read {error.filename}: {error.strerror}"
    return values, missing


def read_again(
    record: TrialRecord, folder: Path, specs: Mapping[str, MetricSpec]
) -> tuple[dict[str, float], dict[str, str]]:
    """`metrics_of` an attempt that was saved, for specs that came or changed later."""
    return metrics_of(folder, record.artifacts, specs)


def _value(folder: Path, artifacts: Sequence[Artifact], spec: MetricSpec) -> float:
    sources = _sources(artifacts, spec)
    found = {
        instance: [number for path in paths for number in _numbers(folder, path, spec)]
        for instance, paths in sources.items()
    }
    if spec.within == "count":
        return _reduced(spec.across, [float(len(numbers)) for numbers in found.values()])
    silent = [instance for instance, numbers in found.items() if not numbers]
    if len(silent) == len(found) or (silent and spec.across not in _CONTENT_WITH_SOME):
        raise _NoValue(_silence(silent, sources, spec))
    each = [_reduced(spec.within, numbers) for numbers in found.values() if numbers]
    return _reduced(spec.across, each)


def _reduced(reducer: Reducer, numbers: Sequence[float]) -> float:
    try:
        value = _REDUCERS[reducer](numbers)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _NoValue(f"the {reducer} of {len(numbers)} numbers is too large for a float")
    return value


def _silence(silent: Sequence[str], sources: Mapping[str, list[str]], spec: MetricSpec) -> str:
    wanted = (
        f"matches {spec.pattern!r}" if spec.pattern is not None else f"has the key {spec.json_key}"
    )
    paths = sources[silent[0]]
    where = paths[0] if len(paths) == 1 else f"the {len(paths)} files of {silent[0]}"
    if len(silent) == len(sources):
        others = f", nor of {len(silent) - 1} other instances" if len(silent) > 1 else ""
        return f"no line of {where} {wanted}{others}"
    return (
        f"no line of {where} {wanted}, and the {spec.across} needs all {len(sources)} instances "
        "(across: first takes the first that has a number)"
    )


# --- where to look -------------------------------------------------------------------------------


def _sources(artifacts: Sequence[Artifact], spec: MetricSpec) -> dict[str, list[str]]:
    """Instance → the files to read, both in their order."""
    paths = sorted((entry.path for entry in artifacts if entry.process == spec.process), key=_place)
    if not paths:
        raise _NoValue(f"process {spec.process} left no files")
    wanted = _file_pattern(spec)
    found: dict[str, list[str]] = {}
    for path in paths:
        instance, _, rest = path.partition("/")
        chosen = found.setdefault(instance, [])
        if wanted.fullmatch(rest):
            chosen.append(path)
    without = [instance for instance, chosen in found.items() if not chosen]
    if len(without) == len(found) or (without and spec.across not in _CONTENT_WITH_SOME):
        what = f"collected file {spec.file}" if spec.file else f"{spec.stream}.log"
        raise _NoValue(f"there is no {what} of {without[0]}")
    return {instance: chosen for instance, chosen in found.items() if chosen}


def _place(path: str) -> tuple[str, int, str]:
    """Sorts instance 10 after instance 9."""
    match = _INSTANCE.fullmatch(path.partition("/")[0])
    return (match["process"], int(match["number"]), path) if match else ("", 0, path)


def _file_pattern(spec: MetricSpec) -> re.Pattern[str]:
    if spec.file is None:
        return re.compile(re.escape(f"{spec.stream}.log"))
    return re.compile("files/" + _glob(spec.file.removeprefix("./").lstrip("/")), re.DOTALL)


def _glob(pattern: str) -> str:
    """`**/` is any folders, `*` and `?` stay within one name; as pathlib's glob has it."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    return "".join(
        pieces.get(part) or (part.replace("[!", "[^") if _is_set(part) else re.escape(part))
        for part in parts
    )


def _is_set(part: str) -> bool:
    return len(part) > 2 and part.startswith("[") and part.endswith("]")


# --- what is there -------------------------------------------------------------------------------


def _numbers(folder: Path, path: str, spec: MetricSpec) -> Iterator[float]:
    texts = _matches(spec.pattern) if spec.pattern is not None else _keys(spec.json_key or "")
    for line_number, line in _lines(folder / path, path):
        for found in texts(line):
            try:
                yield _plain(found)
            except ValueError as error:
                raise _NoValue(f"{path}, line {line_number}: {error}") from None


def _lines(file: Path, path: str) -> Iterator[tuple[int, bytes]]:
    """Streamed: one line in memory at a time."""
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                raise _NoValue(f"{path}, line {number} is longer than {LINE_BYTES_MAX} bytes")
            yield number, line


def _matches(pattern: str) -> Callable[[bytes], Iterator[object]]:
    search = re.compile(pattern).search

    def found(line: bytes) -> Iterator[object]:
        match = search(line.decode("utf-8", "replace").rstrip("\r\n"))
        if match and match[1] is not None:
            yield match[1]

    return found


def _keys(dotted: str) -> Callable[[bytes], Iterator[object]]:
    def found(line: bytes) -> Iterator[object]:
        if not line.lstrip().startswith(b"{"):
            return
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            return
        yield from _at(data, dotted)

    return found


def _at(data: dict[str, Any], dotted: str) -> Iterator[object]:
    if dotted in data:
        yield data[dotted]
        return
    value: Any = data
    for key in dotted.split("."):
        if not isinstance(value, dict) or key not in value:
            return
        value = value[key]
    yield value


def _plain(found: object) -> float:
    """A finite number; ValueError says what was there instead."""
    if isinstance(found, str) and not _NUMBER.fullmatch(found.strip(" \t")):
        raise ValueError(f"{found[:_SHOWN_CHARACTERS]!r} is not a plain number")
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise ValueError(f"{json.dumps(found)[:_SHOWN_CHARACTERS]} is not a number")
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{str(found)[:_SHOWN_CHARACTERS]} is not a finite number")
    return number
