"""What a figure shows: from a table and what was asked for to series of marks and axes; pure."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from cloister.config.parameters import flatten, is_literal
from cloister.config.spec import FigureSpec
from cloister.results.numbers import parameter, percent
from cloister.results.statistics import Estimate, Row, Table

# More than this in the width of a column cannot be told apart.
SERIES_MAX = 12
BARS_MAX = 48
DEFAULT_FIGURES_MAX = 24

# An axis is logarithmic by itself when its values span this factor.
_LOG_SPAN = 100
_LOG_SPAN_PARAMETER = 8
_NAME_CHARACTERS_MAX = 63


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """One value in a figure, with the intervals in both directions where there are any.

    `x` is a number, or the index of a category. `label` is what is written next to it.
    """

    x: float
    y: float
    y_interval: tuple[float, float] | None = None
    x_interval: tuple[float, float] | None = None
    label: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    label: str
    marks: tuple[Mark, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """`log` is the base of a logarithmic axis, 0 for a linear one; `categories` names the indices.

    `ticks` are the values that were chosen on purpose, and so deserve a tick.
    """

    title: str
    unit: str = ""
    log: Literal[0, 2, 10] = 0
    categories: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """`caption` says what the marks, bands and labels are; `legend` what tells the series apart."""

    name: str
    experiment: str
    kind: Literal["line", "bars", "cdf", "throughput-latency"]
    title: str
    caption: str
    legend: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Undrawable:
    """A figure that would show nothing, or nothing legible, and why."""

    name: str
    experiment: str
    why: str

    def __str__(self) -> str:
        return f"figure {self.name}: {self.why}"


class _NotShown(Exception):
    """Why there is nothing to draw; never leaves this module."""


def drawing(spec: FigureSpec, table: Table) -> Drawing | Undrawable:
    try:
        _check(spec, table)
        rows = _rows(spec, table)
        match spec.kind:
            case "line" | "bars":
                found = _over_parameter(spec, table, rows)
            case "cdf":
                found = _distribution(spec, table, rows)
            case "throughput-latency":
                found = _metric_over_metric(spec, table, rows)
        _check_size(found)
    except _NotShown as why:
        return Undrawable(name=spec.name, experiment=spec.experiment, why=str(why))
    return found


def default_figures(table: Table) -> list[FigureSpec]:
    """For each metric: the first numeric swept key on x, the next key as series.

    Further keys give a figure for each of their combinations; at most DEFAULT_FIGURES_MAX in all.
    A sweep without numbers gives bars, one without a sweep the distribution of the trials.
    """
    varying = table.varying()
    numeric = [name for name in varying if _is_numeric(_column(table, name))]
    if not varying:
        specs = [_default(table, metric.name, "cdf", None, [], {}) for metric in table.metrics]
        return _named_apart(specs[:DEFAULT_FIGURES_MAX])
    x = (numeric or list(varying))[0]
    kind: Literal["line", "bars"] = "line" if numeric else "bars"
    others = [name for name in varying if name != x]
    fixed = others[1:]
    combinations = dict.fromkeys(
        tuple(_at(table, row, name) for name in fixed)
        for row in table.rows
        if all(_is_scalar(_at(table, row, name)) for name in fixed)
    )
    specs = [
        _default(table, metric.name, kind, x, others[:1], dict(zip(fixed, values, strict=True)))
        for values in combinations
        for metric in table.metrics
    ]
    return _named_apart(specs[:DEFAULT_FIGURES_MAX])


def _named_apart(specs: Sequence[FigureSpec]) -> list[FigureSpec]:
    """Names become file names; those that were cut, or differ in signs alone, get their number."""
    names = [spec.name.lower() for spec in specs]
    return [
        spec
        if names.count(spec.name.lower()) == 1
        else spec.model_copy(update={"name": f"{spec.name[: _NAME_CHARACTERS_MAX - 3]}-{index}"})
        for index, spec in enumerate(specs, start=1)
    ]


def _default(
    table: Table,
    metric: str,
    kind: Literal["line", "bars", "cdf"],
    x: str | None,
    by: list[str],
    where: dict[str, Any],
) -> FigureSpec:
    fixed = ", ".join(f"{key}={parameter(value)}" for key, value in where.items())
    name = re.sub(r"[^A-Za-z0-9_]+", "-", f"{table.experiment}-{metric}-{fixed}").strip("-")
    return FigureSpec(
        name=name[:_NAME_CHARACTERS_MAX],
        experiment=table.experiment,
        kind=kind,
        x=x,
        y=metric,
        by=by,
        where=where,
        title=fixed,
    )


# --- choosing rows -------------------------------------------------------------------------------


def _check(spec: FigureSpec, table: Table) -> None:
    wanted = [*spec.by, *flatten(spec.where)]
    if spec.kind in ("line", "bars") and spec.x is not None:
        wanted.append(spec.x)
    for name in wanted:
        if name not in table.parameters:
            raise _NotShown(f"experiment {table.experiment} has no parameter {name}")
    metrics = [spec.y, *([spec.x] if spec.kind == "throughput-latency" and spec.x else [])]
    for name in metrics:
        if name not in [metric.name for metric in table.metrics]:
            raise _NotShown(f"experiment {table.experiment} has no metric {name}")


def _rows(spec: FigureSpec, table: Table) -> list[Row]:
    where = {
        key: value["literal"] if is_literal(value) else value
        for key, value in flatten(spec.where).items()
    }
    rows = [
        row
        for row in table.rows
        if all(_same(_at(table, row, name), value) for name, value in where.items())
    ]
    shown = ", ".join(f"{key}={parameter(value)}" for key, value in where.items())
    if not rows:
        raise _NotShown(f"no point of {table.experiment} has {shown}")
    column = table.metric(spec.y)
    if all(row.estimates[column] is None for row in rows):
        among = f" with {shown}" if shown else ""
        raise _NotShown(f"no complete trial of {table.experiment}{among} has a value of {spec.y}")
    return rows


def _same(value: Any, wanted: Any) -> bool:
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _at(table: Table, row: Row, name: str) -> Any:
    return row.parameters[table.parameters.index(name)]


def _column(table: Table, name: str) -> list[Any]:
    return [_at(table, row, name) for row in table.rows]


def _is_numeric(values: Iterable[Any]) -> bool:
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _varying(table: Table, rows: Sequence[Row], without: Iterable[str]) -> list[str]:
    """The other parameters that differ between these rows."""
    return [
        name
        for name in table.parameters
        if name not in without and len({repr(_at(table, row, name)) for row in rows}) > 1
    ]


def _grouped(
    table: Table, rows: Sequence[Row], by: Sequence[str]
) -> tuple[str, dict[str, list[Row]]]:
    """The legend's title, and label → rows, in the order of the sweep."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_label(table, row, by), []).append(row)
    return (by[0] if len(by) == 1 else ""), groups


def _label(table: Table, row: Row, by: Sequence[str]) -> str:
    if len(by) == 1:
        return parameter(_at(table, row, by[0]))
    return ", ".join(f"{name}={parameter(_at(table, row, name))}" for name in by)


# --- the kinds -----------------------------------------------------------------------------------


def _over_parameter(spec: FigureSpec, table: Table, rows: Sequence[Row]) -> Drawing:
    assert spec.x is not None
    # Two values at one x would be neither a line nor a bar, so what else differs makes series.
    by = [*spec.by, *_varying(table, rows, [spec.x, *spec.by])]
    by = [name for name in by if name != spec.x]
    column = table.metric(spec.y)
    values = [_at(table, row, spec.x) for row in rows]
    numeric = spec.kind == "line" and _is_numeric(values)
    if numeric:
        place: Callable[[Any], float] = float
        categories: tuple[str, ...] = ()
    else:
        categories = _categories(values)
        place = lambda value: float(categories.index(parameter(value)))  # noqa: E731
    legend, groups = _grouped(table, rows, by)
    series = _series(
        {
            label: [_mark(place(_at(table, row, spec.x)), row.estimates[column]) for row in members]
            for label, members in groups.items()
        }
    )
    places = sorted({mark.x for entry in series for mark in entry.marks})
    metric = table.metrics[column]
    return Drawing(
        name=spec.name,
        experiment=table.experiment,
        kind=spec.kind,
        title=spec.title,
        caption=_caption(table, rows, column),
        legend=legend,
        x=Axis(
            title=spec.x,
            categories=categories,
            log=_parameter_log(places, spec.log_x) if numeric else 0,
            ticks=tuple(places),
        ),
        y=Axis(
            title=metric.name,
            unit=metric.unit,
            log=_metric_log(_heights(series), spec.log_y, automatic=spec.kind == "line"),
        ),
        series=series,
    )


def _categories(values: Sequence[Any]) -> tuple[str, ...]:
    """Numbers in their order, everything else in the order of the sweep."""
    ordered = sorted(values) if _is_numeric(values) else values
    return tuple(dict.fromkeys(parameter(value) for value in ordered))


def _distribution(spec: FigureSpec, table: Table, rows: Sequence[Row]) -> Drawing:
    """Of the trials' own values; parameters that are not in `by` are pooled."""
    column = table.metric(spec.y)
    legend, groups = _grouped(table, rows, spec.by)
    series = tuple(
        Series(label=label, marks=_steps([v for row in members for v in row.values[column]]))
        for label, members in groups.items()
        if any(row.values[column] for row in members)
    )
    values = [mark.x for entry in series for mark in entry.marks]
    metric = table.metrics[column]
    pooled = _varying(table, rows, spec.by)
    over = f", all values of {', '.join(pooled)} together" if pooled else ""
    return Drawing(
        name=spec.name,
        experiment=table.experiment,
        kind="cdf",
        title=spec.title,
        caption=f"Cumulative distribution of {len(values)} trials{over}.",
        legend=legend,
        x=Axis(
            title=metric.name,
            unit=metric.unit,
            log=_metric_log(values, spec.log_x, automatic=True),
        ),
        y=Axis(title="share of trials", log=_metric_log([0.5], spec.log_y, automatic=False)),
        series=series,
    )


def _steps(values: Sequence[float]) -> tuple[Mark, ...]:
    ordered = sorted(values)
    return tuple(
        Mark(x=value, y=rank / len(ordered)) for rank, value in enumerate(ordered, start=1)
    )


def _metric_over_metric(spec: FigureSpec, table: Table, rows: Sequence[Row]) -> Drawing:
    """Each point of the sweep is a mark, joined in the order of the sweep and labelled with the rest."""
    assert spec.x is not None
    x_column, y_column = table.metric(spec.x), table.metric(spec.y)
    along = _varying(table, rows, spec.by)
    legend, groups = _grouped(table, rows, spec.by)
    series = _series(
        {
            label: [
                _crossing(
                    row.estimates[x_column],
                    row.estimates[y_column],
                    "/".join(parameter(_at(table, row, name)) for name in along),
                )
                for row in members
            ]
            for label, members in groups.items()
        }
    )
    if not series:
        raise _NotShown(f"no point has both {spec.x} and {spec.y}")
    x_metric, y_metric = table.metrics[x_column], table.metrics[y_column]
    labels = f" Labels: {'/'.join(along)}." if along else ""
    return Drawing(
        name=spec.name,
        experiment=table.experiment,
        kind="throughput-latency",
        title=spec.title,
        caption=_caption(table, rows, y_column) + labels,
        legend=legend,
        x=Axis(
            title=x_metric.name,
            unit=x_metric.unit,
            log=_metric_log(
                [mark.x for entry in series for mark in entry.marks], spec.log_x, automatic=True
            ),
        ),
        y=Axis(
            title=y_metric.name,
            unit=y_metric.unit,
            log=_metric_log(_heights(series), spec.log_y, automatic=True),
        ),
        series=series,
    )


# --- marks and axes ------------------------------------------------------------------------------


def _mark(x: float, estimate: Estimate | None) -> Mark | None:
    if estimate is None:
        return None
    return Mark(x=x, y=estimate.mean, y_interval=_interval(estimate))


def _crossing(x: Estimate | None, y: Estimate | None, label: str) -> Mark | None:
    if x is None or y is None:
        return None
    return Mark(x=x.mean, y=y.mean, x_interval=_interval(x), y_interval=_interval(y), label=label)


def _interval(estimate: Estimate) -> tuple[float, float] | None:
    if estimate.low is None or estimate.high is None:
        return None
    return estimate.low, estimate.high


def _series(marks: Mapping[str, Sequence[Mark | None]]) -> tuple[Series, ...]:
    """Without marks that have no value, and without series that have no mark."""
    present = {
        label: tuple(mark for mark in entries if mark is not None)
        for label, entries in marks.items()
    }
    return tuple(
        Series(label=label, marks=entries) for label, entries in present.items() if entries
    )


def _heights(series: Iterable[Series]) -> list[float]:
    return [mark.y for entry in series for mark in entry.marks]


def _metric_log(values: Sequence[float], wanted: bool, *, automatic: bool) -> Literal[0, 10]:
    if wanted and min(values) <= 0:
        raise _NotShown(f"a logarithmic axis cannot show {min(values):g}")
    spans = automatic and min(values) > 0 and max(values) / _LOG_SPAN >= min(values)
    return 10 if wanted or spans else 0


def _parameter_log(values: Sequence[float], wanted: bool) -> Literal[0, 2, 10]:
    """Logarithmic if asked for, or if the values were plainly chosen that way: 1, 2, 4, 8."""
    if wanted and min(values) <= 0:
        raise _NotShown(f"a logarithmic axis cannot show {min(values):g}")
    if not wanted and not _geometric(values):
        return 0
    return 2 if all(math.log2(value).is_integer() for value in values) else 10


def _geometric(values: Sequence[float]) -> bool:
    if len(values) < 3 or values[0] <= 0 or values[-1] / values[0] < _LOG_SPAN_PARAMETER:
        return False
    return _unevenness([math.log(value) for value in values]) < _unevenness(values)


def _unevenness(values: Sequence[float]) -> float:
    """The largest step between neighbours by the smallest."""
    steps = [after - before for before, after in itertools.pairwise(values)]
    return max(steps) / min(steps)


def _caption(table: Table, rows: Sequence[Row], column: int) -> str:
    counts = sorted({found.n for row in rows if (found := row.estimates[column]) is not None})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    if counts[-1] == 1:
        return f"One trial each ({n}), so without an interval."
    return f"Mean and {percent(table.confidence)} confidence interval of it, {n}."


def _check_size(found: Drawing) -> None:
    count = len(found.series)
    if count > SERIES_MAX:
        raise _NotShown(
            f"{count} series cannot be told apart (at most {SERIES_MAX}): "
            "choose some with `where`, or split it into several figures"
        )
    bars = count * len(found.x.categories)
    if found.kind == "bars" and bars > BARS_MAX:
        raise _NotShown(f"{bars} bars are too many (at most {BARS_MAX}): choose some with `where`")
