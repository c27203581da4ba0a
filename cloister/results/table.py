"""The summary of an experiment as text for a terminal, or as Markdown."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import Literal

from cloister.results.numbers import interval, number, parameter, percent, titled
from cloister.results.statistics import Estimate, Row, Table

_GAP = 2
# Without a terminal nothing has to fit.
_WIDE = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Grid:
    """Cells as text; the first `left` columns are aligned to the left."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int


def rendered(
    table: Table,
    *,
    form: Literal["text", "markdown"] = "text",
    width: int | None = None,
    color: bool = False,
) -> str:
    """The table as text that ends with a newline.

    `width` is the terminal's, None where there is none (then lines are as long as they need to be).
    What does not fit side by side is shown metric by metric, and on very narrow terminals as a list.
    """
    if form == "markdown":
        return _markdown(table)
    room = width or _WIDE
    for grids in (
        [_wide(table)],
        [_of_metric(table, index) for index in range(len(table.metrics))],
    ):
        if grids and all(_width(grid) <= room for grid in grids):
            body = "\n".join(_drawn(grid, color) for grid in grids)
            return f"{_heading(table, color)}\n{body}"
    return f"{_heading(table, color)}\n{_listed(table)}"


# --- what stands in it ---------------------------------------------------------------------------


def _heading(table: Table, color: bool) -> str:
    fixed = ", ".join(f"{name}={parameter(value)}" for name, value in table.constants().items())
    title = _styled(table.experiment, "bold", color)
    return f"{title}  ({fixed})" if fixed else title


def _shown_parameters(table: Table) -> tuple[str, ...]:
    return table.varying() or (() if table.constants() else table.parameters)


def _parameter_cells(table: Table, row: Row) -> tuple[str, ...]:
    shown = _shown_parameters(table)
    return tuple(
        parameter(value)
        for name, value in zip(table.parameters, row.parameters, strict=True)
        if name in shown
    )


def _count(table: Table, row: Row) -> str:
    return str(row.n) if row.n == table.wanted else f"{row.n} of {table.wanted}"


def _cells(estimate: Estimate | None) -> tuple[str, str, str]:
    if estimate is None:
        return "–", "–", "–"
    return number(estimate.mean), number(estimate.median), interval(estimate)


def _interval_title(table: Table) -> str:
    return f"{percent(table.confidence)} CI"


def _wide(table: Table) -> _Grid:
    shown = _shown_parameters(table)
    titles = ("mean", "median", _interval_title(table))
    several = len(table.metrics) > 1
    return _Grid(
        title="" if several or not table.metrics else titled(table.metrics[0]),
        header=(
            *shown,
            "n",
            *(
                f"{titled(metric)} {title}" if several and title == "mean" else title
                for metric in table.metrics
                for title in titles
            ),
        ),
        rows=tuple(
            (
                *_parameter_cells(table, row),
                _count(table, row),
                *(cell for estimate in row.estimates for cell in _cells(estimate)),
            )
            for row in table.rows
        ),
        left=len(shown),
    )


def _of_metric(table: Table, index: int) -> _Grid:
    shown = _shown_parameters(table)
    return _Grid(
        title=titled(table.metrics[index]),
        header=(*shown, "n", "mean", "median", _interval_title(table)),
        rows=tuple(
            (*_parameter_cells(table, row), _count(table, row), *_cells(row.estimates[index]))
            for row in table.rows
        ),
        left=len(shown),
    )


# --- how it is drawn -----------------------------------------------------------------------------


def _drawn(grid: _Grid, color: bool) -> str:
    widths = _widths(grid)
    title = [_styled(grid.title, "cyan", color)] if grid.title else []
    header = _styled(_line(grid.header, widths, grid.left), "dim", color)
    lines = [_line(row, widths, grid.left) for row in grid.rows]
    return "\n".join([*title, header, *lines]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = (
        cell + " " * (width - cells_wide(cell))
        if index < left
        else " " * (width - cells_wide(cell)) + cell
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return (" " * _GAP).join(padded).rstrip()


def _widths(grid: _Grid) -> list[int]:
    columns = zip(grid.header, *grid.rows, strict=True)
    return [max(cells_wide(cell) for cell in column) for column in columns]


def _width(grid: _Grid) -> int:
    widths = _widths(grid)
    return max(sum(widths) + _GAP * (len(widths) - 1), cells_wide(grid.title))


def cells_wide(text: str) -> int:
    """Terminal cells: East Asian wide characters take two, combining ones none (Unicode UAX 11)."""
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def _listed(table: Table) -> str:
    """One value to a line, for terminals where no table fits."""
    lines: list[str] = []
    names = _shown_parameters(table)
    for row in table.rows:
        shown = zip(names, _parameter_cells(table, row), strict=True)
        lines.append(" ".join(f"{name}={value}" for name, value in shown) or "all trials")
        lines.append(f"  n = {_count(table, row)}")
        for metric, estimate in zip(table.metrics, row.estimates, strict=True):
            mean, median, bounds = _cells(estimate)
            lines.append(f"  {titled(metric)}")
            lines.append(f"    mean {mean}")
            lines.append(f"    median {median}")
            lines.append(f"    {_interval_title(table)} {bounds}")
    return "\n".join(lines) + "\n"


def _styled(text: str, style: str, color: bool) -> str:
    if not color:
        return text
    from rich.style import Style

    return Style.parse(style).render(text)


def _markdown(table: Table) -> str:
    parts = [f"### {_escaped(table.experiment)}", ""]
    if table.constants():
        fixed = (f"{name} = {parameter(value)}" for name, value in table.constants().items())
        parts += [_escaped(", ".join(fixed)), ""]
    grids = [_of_metric(table, index) for index in range(len(table.metrics))] or [_wide(table)]
    for grid in grids:
        if grid.title:
            parts += [f"**{_escaped(grid.title)}**", ""]
        rules = [":--" if index < grid.left else "--:" for index in range(len(grid.header))]
        parts += [_markdown_line(grid.header), "|" + "|".join(rules) + "|"]
        parts += [_markdown_line(row) for row in grid.rows] + [""]
    return "\n".join(parts)


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(cell) for cell in cells) + " |"


def _escaped(text: str) -> str:
    for character in "\\`*_|<>":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
