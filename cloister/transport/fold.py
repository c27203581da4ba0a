"""Many names in few words: `workers[1-9,12]`, and equal outputs shown once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NUMBERED = re.compile(r"^(.*?)(\d+)$")


def fold(names: Iterable[str]) -> str:
    """`a1 a2 a3 b` as `a[1-3],b`; numbers with leading zeros are kept as they are written."""
    plain: list[str] = []
    numbered: dict[str, list[int]] = {}
    for name in dict.fromkeys(names):
        match = _NUMBERED.match(name)
        if match is None or (match[2].startswith("0") and len(match[2]) > 1):
            plain.append(name)
        else:
            numbered.setdefault(match[1], []).append(int(match[2]))
    parts = [_group(prefix, numbers) for prefix, numbers in numbered.items()]
    return ",".join(parts + plain)


def _group(prefix: str, numbers: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    single = len(runs) == 1 and runs[0][0] == runs[0][1]
    return prefix + (texts[0] if single else f"[{','.join(texts)}]")


def fold_equal(outputs: Mapping[str, str]) -> list[tuple[str, str]]:
    """(folded names, output) for each distinct output, in the order of first appearance."""
    groups: dict[str, list[str]] = {}
    for name, output in outputs.items():
        groups.setdefault(output, []).append(name)
    return [(fold(names), output) for output, names in groups.items()]
