"""Results for other programs: CSV, JSON and Parquet, of every trial or of the summary."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cloister.config.spec import ExperimentSpec
from cloister.errors import CloisterError
from cloister.experiment.record import TrialRecord
from cloister.results.durable import write_atomically
from cloister.results.statistics import Table, counted

Format = Literal["csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "json", "parquet")
_INT64_MAX = 2**63 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """Named columns; `units` by column name. Values are scalars, lists or tables of them, or None."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    units: Mapping[str, str]


def trial_frame(
    records: Iterable[TrialRecord],
    spec: ExperimentSpec,
    *,
    definitions: Mapping[str, str] | None = None,
) -> Frame:
    """One row per trial, its counted attempt or else its latest.

    Only counted trials have metrics: what a failed one printed is no measurement.
    """
    chosen = _chosen([record for record in records if record.experiment == spec.name], definitions)
    parameters = tuple(dict.fromkeys(key for record, _ in chosen for key in record.parameters))
    fixed = ("experiment", "point", "repeat", "attempt", "verdict", "counted")
    last = ("reason", "seed", "started_at", "duration_s", "measured_s", "definition")
    metrics = tuple(spec.metrics)
    columns = _distinct((*fixed,), (("parameter", parameters), ("metric", metrics), ("", last)))
    rows = tuple(
        (
            *(record.experiment, record.point, record.repeat, record.attempt, record.verdict),
            counts,
            *(record.parameters.get(key) for key in parameters),
            *(record.metrics.get(name) if counts else None for name in metrics),
            *(record.reason, record.seed, _time(record.started_at)),
            *(record.duration_s, record.measured_s, record.definition),
        )
        for record, counts in chosen
    )
    places = columns[len(fixed) + len(parameters) :]
    units = {place: spec.metrics[name].unit for name, place in zip(metrics, places, strict=False)}
    return Frame(name=f"{spec.name}-trials", columns=columns, rows=rows, units=_given(units))


def summary_frame(table: Table) -> Frame:
    """One row per point; each metric has a column for each of its estimates, as `rate.mean`."""
    parts = ("n", "mean", "median", "min", "max", "std", "low", "high")
    names = tuple(f"{metric.name}.{part}" for metric in table.metrics for part in parts)
    columns = _distinct(
        ("experiment", "point", "trials"), (("parameter", table.parameters), ("metric", names))
    )
    rows = tuple(
        (
            table.experiment,
            row.point,
            row.n,
            *row.parameters,
            *(
                None if estimate is None else getattr(estimate, part)
                for estimate in row.estimates
                for part in parts
            ),
        )
        for row in table.rows
    )
    units = {f"{metric.name}.{part}": metric.unit for metric in table.metrics for part in parts[1:]}
    return Frame(
        name=f"{table.experiment}-summary", columns=columns, rows=rows, units=_given(units)
    )


def export(frames: Iterable[Frame], folder: Path, formats: Sequence[Format]) -> list[Path]:
    """Writes `<folder>/<frame>.<format>` for each frame and format."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CloisterError(f"cannot create {folder}: {error.strerror}") from error
    written = []
    for frame in frames:
        for form in formats:
            path = folder / f"{frame.name}.{form}"
            write_atomically(path, encoded(frame, form))
            written.append(path)
    return written


def encoded(frame: Frame, form: Format) -> bytes:
    match form:
        case "csv":
            return _csv(frame)
        case "json":
            return _json(frame)
        case "parquet":
            return _parquet(frame)


# --- the formats ---------------------------------------------------------------------------------


def _csv(frame: Frame) -> bytes:
    """RFC 4180; a missing value is an empty field, lists and tables are JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(frame.columns)
    writer.writerows([_csv_cell(value) for value in row] for row in frame.rows)
    return text.getvalue().encode("utf-8", "replace")


def _csv_cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case datetime.datetime():
            return value.isoformat()
        case _:
            return json.dumps(value, default=str, ensure_ascii=False)


def _json(frame: Frame) -> bytes:
    data = {
        "name": frame.name,
        "units": dict(frame.units),
        "rows": [dict(zip(frame.columns, row, strict=True)) for row in frame.rows],
    }
    text = json.dumps(data, indent=1, default=_json_value, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def _json_value(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value)


def _parquet(frame: Frame) -> bytes:
    import pyarrow
    import pyarrow.parquet

    fields, arrays = [], []
    for index, name in enumerate(frame.columns):
        array = pyarrow.array(_typed([row[index] for row in frame.rows]))
        unit = {"unit": frame.units[name]} if name in frame.units else None
        fields.append(pyarrow.field(name, array.type, metadata=unit))
        arrays.append(array)
    table = pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def _typed(values: list[Any]) -> list[Any]:
    """One type for the column: its own, numbers as floats, or else text as in the CSV file."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and kinds <= {bool, str, float, datetime.datetime}:
        return values
    if kinds == {int} and all(value is None or abs(value) <= _INT64_MAX for value in values):
        return values
    if kinds == {int, float} and all(value is None or abs(value) <= 2**53 for value in values):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else _csv_cell(value) for value in values]


# --- rows and columns ----------------------------------------------------------------------------


def _chosen(
    records: Sequence[TrialRecord], definitions: Mapping[str, str] | None
) -> list[tuple[TrialRecord, bool]]:
    """Of each trial the attempt that counts, or the latest, and which of the two it is."""
    chosen = {record.trial: (record, True) for record in counted(records, definitions)}
    for record in sorted(records, key=lambda record: record.attempt, reverse=True):
        chosen.setdefault(record.trial, (record, False))
    return sorted(chosen.values(), key=lambda entry: (entry[0].point, entry[0].repeat))


def _distinct(
    fixed: tuple[str, ...], groups: Sequence[tuple[str, Sequence[str]]]
) -> tuple[str, ...]:
    """Column names; one that is taken already is told apart by what it is, `parameter.point`."""
    reserved = {name for kind, names in groups if not kind for name in names}
    columns = list(fixed)
    for kind, names in groups:
        for name in names:
            taken = name in columns or (kind and name in reserved)
            columns.append(f"{kind}.{name}" if taken else name)
    return tuple(columns)


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _given(units: Mapping[str, str]) -> dict[str, str]:
    return {name: unit for name, unit in units.items() if unit}
