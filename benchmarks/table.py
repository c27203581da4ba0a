"""Medians as Markdown tables, each with its ratio to cloister's."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from cases import TITLES
from peers import CLOISTER, ENTRIES

Row = Mapping[str, object]


def tables(rows: Sequence[Row], versions: Mapping[str, str], machine: Mapping[str, str]) -> str:
    parts = [", ".join(f"{key} {value}" for key, value in machine.items())]
    parts.append(
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    for case, title in TITLES.items():
        for count in sorted({int(str(row["nodes"])) for row in rows}):
            these = [row for row in rows if row["nodes"] == count and _is(row, case)]
            if these:
                parts.append(f"### {count} nodes, {case}: {title}\n\n{_table(these, count)}")
    parts.append(_left_out(versions))
    return "\n\n".join(part for part in parts if part) + "\n"


def _is(row: Row, case: str) -> bool:
    """A failed row has the letter of its case alone."""
    return row["case"] == case or ("failure" in row and case[0] == row["case"])


def _table(rows: Sequence[Row], count: int) -> str:
    names = [entry.name for entry in ENTRIES if any(row["peer"] == entry.name for row in rows)]
    good = {name: [r for r in rows if r["peer"] == name and "failure" not in r] for name in names}
    own = _median(good.get(CLOISTER, []), "wall_s"), _median(good.get(CLOISTER, []), "client_cpu_s")
    lines = [
        "| | wall s | × cloister | client CPU ms/node | × cloister | node CPU ms/node | rounds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    order = sorted(names, key=lambda name: _median(good[name], "wall_s") or float("inf"))
    lines += [_line(name, good[name], rows, own, count) for name in order]
    return "\n".join(lines)


def _line(
    name: str, good: Sequence[Row], rows: Sequence[Row], own: tuple[float | None, ...], count: int
) -> str:
    if not good:
        reason = next(str(row["failure"]) for row in rows if row["peer"] == name)
        return f"| {name} | failed: {reason[:80]} | | | | | 0 |"
    wall_s, client_s = _median(good, "wall_s"), _median(good, "client_cpu_s")
    node_s = _median(good, "node_cpu_s")
    assert wall_s is not None and client_s is not None and node_s is not None
    return (
        f"| {name} | {wall_s:.3f} | {_ratio(wall_s, own[0])} | {client_s / count * 1e3:.2f} "
        f"| {_ratio(client_s, own[1])} | {node_s / count * 1e3:.1f} | {len(good)} |"
    )


def _median(rows: Sequence[Row], key: str) -> float | None:
    return statistics.median(float(str(row[key])) for row in rows) if rows else None


def _ratio(value: float, own: float | None) -> str:
    return f"{value / own:.2f}" if own else "–"


def _left_out(versions: Mapping[str, str]) -> str:
    lines = [f"- {e.name}: {e.leaves_out}" for e in ENTRIES if e.leaves_out and e.name in versions]
    return "Not measured, or measured in another way:\n\n" + "\n".join(lines) if lines else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="The tables of runs whose samples were written.")
    parser.add_argument("files", nargs="+", type=Path, help="what --json wrote")
    reports = [json.loads(file.read_text()) for file in parser.parse_args().files]
    rows = [row for report in reports for row in report["rows"]]
    versions = {name: v for report in reports for name, v in report["versions"].items()}
    print(tables(rows, versions, reports[0]["machine"]))


if __name__ == "__main__":
    main()
