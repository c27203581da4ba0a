"""Medians of launches as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def speed_table(rows: Sequence[Row]) -> str:
    """All peers at one number of nodes, then at the next."""
    lines = [
        "| nodes | | calls: RunInstances | describe | tags | other | for a single instance | refused "
        "| all answer, s | × slowest's own boot | returns after, s | its CPU s | rounds |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for count in sorted({row["nodes"] for row in rows}):
        for peer in dict.fromkeys(row["peer"] for row in rows):
            these = [row for row in rows if row["nodes"] == count and row["peer"] == peer]
            if these:
                lines.append(_line(peer, count, these))
    return "\n".join(lines)


def _line(peer: str, count: int, rows: Sequence[Row]) -> str:
    kinds = ("run", "describe", "tags", "other", "single", "refused")
    calls = " | ".join(f"{statistics.median(row[kind] for row in rows):.0f}" for kind in kinds)
    whole = [row for row in rows if not row["failure"]]
    if not whole:
        last = rows[-1]
        left = f"{last['living']} instances left" if last["living"] else "nothing left"
        return (
            f"| {count} | {peer} | {calls} | **fails**: {last['failure'][:110]}; {left} | | | | 0 |"
        )
    ready = [_ready_s(row) for row in whole]
    ratio = statistics.median(
        value / row["slowest_s"] for value, row in zip(ready, whole, strict=True)
    )
    took = statistics.median(row["returned_s"] - row["began_s"] for row in whole)
    cpu = statistics.median(row["cpu_s"] for row in whole)
    unknown = [row["answering"] for row in whole if row["answering"] is not None]
    note = f" ({statistics.median(unknown):.0f} answer then)" if unknown else ""
    return (
        f"| {count} | {peer} | {calls} | {statistics.median(ready):.1f} | {ratio:.2f} "
        f"| {took:.1f}{note} | {cpu:.1f} | {len(whole)} |"
    )


def _ready_s(row: Row) -> float:
    """When all were known to answer; where nobody asked, when they did."""
    return float((row["ready_s"] or row["all_open_s"]) - row["began_s"])


def leak_table(rows: Sequence[Row]) -> str:
    lines = [
        "| killed after | | instances made until then | left after its own destroy | left five hours "
        "later if nobody comes back |",
        "|---|---|---:|---:|---:|",
    ]
    for row in sorted(rows, key=lambda row: row["nth"]):
        said = f" ({row['destroy_said'][:60]})" if row["destroy_said"] else ""
        lines.append(
            f"| RunInstances {row['nth']} | {row['peer']} | {row['made']} | {row['destroy']}{said} "
            f"| {row['nobody']} |"
        )
    return "\n".join(lines)
