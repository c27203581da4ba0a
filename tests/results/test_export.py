from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from evidence import record, trial

from cloister.config.spec import ExperimentSpec
from cloister.errors import CloisterError
from cloister.results.export import FORMATS, Frame, encoded, export, summary_frame, trial_frame
from cloister.results.statistics import summary


def _spec(sweep: dict[str, Any]) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "name": "ping",
            "sweep": sweep,
            "repeats": 2,
            "processes": {"main": {"role": "w", "command": "true"}},
            "metrics": {"rate": {"process": "main", "pattern": "(x)", "unit": "op/s"}},
        }
    )


def _frame(*values: Any) -> Frame:
    return Frame(name="f", columns=("v",), rows=tuple((v,) for v in values), units={"v": "ms"})


def test_every_trial_is_a_row_and_only_counted_ones_have_metrics() -> None:
    records = [
        record(trial({"n": 1}, 1), metrics={"rate": 5.0}),
        record(
            trial({"n": 1}, 2), verdict="failed", metrics={"rate": 9.0}, reason='said "no",\nso'
        ),
        record(trial({"n": 2}, 1), 1, verdict="invalid"),
        record(trial({"n": 2}, 1), 2, metrics={"rate": 7.0}),
    ]
    rows = list(
        csv.DictReader(
            io.StringIO(encoded(trial_frame(records, _spec({"n": [1, 2]})), "csv").decode())
        )
    )
    assert [(row["n"], row["repeat"], row["verdict"], row["rate"]) for row in rows] == [
        ("1", "1", "complete", "5.0"),
        ("1", "2", "failed", ""),
        ("2", "1", "complete", "7.0"),
    ]
    assert rows[1]["reason"] == 'said "no",\nso'
    assert rows[0]["started_at"] == "2023-11-14T22:13:20+00:00"


def test_a_parameter_named_like_a_column_is_told_apart() -> None:
    point = {"point": 1, "rate": 2, "seed": 3}
    frame = trial_frame([record(trial(point), metrics={"rate": 5.0})], _spec({}))
    assert frame.columns[6:10] == ("parameter.point", "rate", "parameter.seed", "metric.rate")
    assert dict(frame.units) == {"metric.rate": "op/s"}
    assert len(set(frame.columns)) == len(frame.columns)


def test_the_summary_has_a_column_for_each_estimate() -> None:
    spec = _spec({"n": [1]})
    records = [record(trial({"n": 1}, n), metrics={"rate": float(n)}) for n in (1, 2)]
    (row,) = json.loads(encoded(summary_frame(summary(records, spec)), "json"))["rows"]
    assert (row["n"], row["trials"], row["rate.n"], row["rate.mean"]) == (1, 2, 2, 1.5)
    assert row["rate.low"] == 1.0


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ((1, 2), "int64", [1, 2]),
        ((1, 2.5, None), "double", [1.0, 2.5, None]),
        ((True, False), "bool", [True, False]),
        ((1, "1"), "string", ["1", "1"]),
        ((1, True), "string", ["1", "true"]),
        ((2**70, 1), "string", [str(2**70), "1"]),
        (([1, 2], None), "string", ["[1, 2]", None]),
        (({"a": "ä"},), "string", ['{"a": "ä"}']),
        ((None,), "null", [None]),
        ((), "null", []),
    ],
)
def test_parquet_columns_have_one_type(values: tuple[Any, ...], kind: str, read: list[Any]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(encoded(_frame(*values), "parquet")))
    assert str(table.schema.field("v").type) == kind
    assert table.column("v").to_pylist() == read
    assert table.schema.field("v").metadata[b"unit"] == b"ms"


def test_export_writes_a_file_for_each_frame_and_format(tmp_path: Path) -> None:
    written = export([_frame(1, "x", None)], tmp_path / "out", FORMATS)
    assert [path.name for path in written] == ["f.csv", "f.json", "f.parquet"]
    assert (tmp_path / "out" / "f.csv").read_bytes() == b'v\r\n1\r\nx\r\n""\r\n'
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [p.name for p in written]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(CloisterError, match="cannot create"):
        export([_frame(1)], tmp_path / "out", ("csv",))
