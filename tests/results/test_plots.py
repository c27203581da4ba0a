"""Few, because matplotlib is slow; what figures show is tested in test_figures.py."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from cloister.results.figures import Axis, Drawing, Mark, Series
from cloister.results.plots import pictures, plot


def _drawing(kind: Any, **changes: Any) -> Drawing:
    marks = tuple(
        Mark(x=float(x), y=x * x + 1.0, y_interval=(x * x + 0.5, x * x + 2.0), label=f"{x}")
        for x in (1, 2, 4)
    )
    plain = Drawing(
        name="f",
        experiment="ping",
        kind=kind,
        title="A title",
        caption="",
        legend="mode",
        x=Axis(title="n", ticks=(1.0, 2.0, 4.0)),
        y=Axis(title="rate $x_1$", unit="op/s"),
        series=(Series(label="a", marks=marks), Series(label="$b^2$", marks=marks[1:])),
    )
    return dataclasses.replace(plain, **changes)


@pytest.mark.parametrize("kind", ["line", "cdf", "throughput-latency"])
def test_equal_drawings_give_equal_files(kind: str) -> None:
    first, second = pictures(_drawing(kind)), pictures(_drawing(kind))
    assert first == second
    assert first["png"].startswith(b"\x89PNG")
    assert first["pdf"].startswith(b"%PDF")


def test_bars_are_written_as_three_files_of_the_width_of_a_column(tmp_path: Path) -> None:
    names = tuple(f"a category with quite a long name {n}" for n in range(5))
    written = plot(_drawing("bars", x=Axis(title="n", categories=names)), tmp_path)
    assert [path.name for path in written] == ["f.png", "f.svg", "f.pdf"]
    svg = (tmp_path / "f.svg").read_text()
    width = re.search(r'width="([\d.]+)pt"', svg)
    assert width is not None and float(width[1]) == 252
    assert "<dc:date>" not in svg


def test_single_huge_and_constant_values_can_be_drawn() -> None:
    for values in ([1e300], [1e-300], [0.0], [-3.0, -3.0], [7.0, 7.0]):
        marks = tuple(Mark(x=float(x), y=y) for x, y in enumerate(values))
        axis = Axis(title="n", ticks=tuple(mark.x for mark in marks))
        alone = _drawing("line", series=(Series(label="", marks=marks),), x=axis)
        assert pictures(alone)["svg"]
