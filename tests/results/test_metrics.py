from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from evidence import artifact, record, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.config.spec import MetricSpec
from cloister.results import metrics
from cloister.results.metrics import metrics_of, read_again


def _read(folder: Path, files: dict[str, bytes], **spec: Any) -> float | str:
    """The value, or the reason why there is none."""
    entries = [artifact(folder, path, content) for path, content in files.items()]
    chosen = {"process": "main", **spec}
    if "json_key" not in chosen:
        chosen.setdefault("pattern", r"rate=(\S+)")
    values, missing = metrics_of(folder, entries, {"rate": MetricSpec(**chosen)})
    assert (set(values) | set(missing)) == {"rate"}
    return values["rate"] if values else missing["rate"]


LOG = "main-0@n1/stdout.log"


def test_the_first_group_of_a_line_is_the_number(tmp_path: Path) -> None:
    assert _read(tmp_path, {LOG: b"noise\nrate=12.5 op/s\n"}) == 12.5


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        ("last", 2.0),
        ("first", 1.0),
        ("mean", 3.0),
        ("median", 2.0),
        ("sum", 9.0),
        ("min", 1.0),
        ("max", 6.0),
        ("count", 3.0),
    ],
)
def test_within_makes_one_number_of_an_instance(
    tmp_path: Path, within: str, expected: float
) -> None:
    assert _read(tmp_path, {LOG: b"rate=1\nrate=6\nrate=2\n"}, within=within) == expected


def test_across_makes_one_number_of_the_instances_in_their_order(tmp_path: Path) -> None:
    files = {f"main-{n}@n1/stdout.log": f"rate={n}\n".encode() for n in (0, 2, 9, 10)}
    assert _read(tmp_path, files, across="sum") == 21.0
    assert _read(tmp_path, files, across="last") == 10.0
    assert _read(tmp_path, files, across="count") == 4.0


def test_a_sum_needs_every_instance_and_first_takes_the_one_that_speaks(tmp_path: Path) -> None:
    files = {"main-0@n1/stdout.log": b"hm\n", "main-1@n2/stdout.log": b"rate=3\n"}
    assert "main-0@n1" in str(_read(tmp_path, files, across="sum"))
    assert "across: first" in str(_read(tmp_path, files, across="sum"))
    assert _read(tmp_path, files, across="first") == 3.0


def test_counting_nothing_is_zero(tmp_path: Path) -> None:
    assert _read(tmp_path, {LOG: b"fine\n"}, within="count") == 0.0


@pytest.mark.parametrize("text", ["1", "-1.5", "+2.", ".5", "1e9", "1.5E-3", "0012"])
def test_plain_numbers_are_read(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path, {LOG: f"rate={text}\n".encode()}) == float(text)


@pytest.mark.parametrize(
    "text", ["1,234.5", "nan", "inf", "-Infinity", "1e999", "1_000", "0x10", "fast", "٣", "."]
)
def test_what_is_no_plain_number_is_a_reason_with_its_line(tmp_path: Path, text: str) -> None:
    reason = _read(tmp_path, {LOG: f"rate=1\nrate={text}\n".encode()})
    assert str(reason).startswith(f"{LOG}, line 2: ")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "process main left no files"),
        ({"other-0@n1/stdout.log": b"rate=1\n"}, "process main left no files"),
        ({"main-0@n1/stderr.log": b"rate=1\n"}, "there is no stdout.log of main-0@n1"),
        ({LOG: b""}, "no line of main-0@n1/stdout.log matches"),
    ],
)
def test_a_missing_value_says_where_it_was_looked_for(
    tmp_path: Path, files: dict[str, bytes], why: str
) -> None:
    assert why in str(_read(tmp_path, files))


def test_a_file_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    entry = artifact(tmp_path, LOG, b"rate=1\n")
    (tmp_path / LOG).unlink()
    spec = MetricSpec(process="main", pattern="rate=(.)")
    values, missing = metrics_of(tmp_path, [entry], {"rate": spec})
    assert values == {}
    assert "No such file" in missing["rate"]


def test_invalid_utf8_and_carriage_returns_are_no_obstacle(tmp_path: Path) -> None:
    assert _read(tmp_path, {LOG: b"wait 1 %\rwait 2 %\rrate=8 \r\n"}) == 8.0
    assert _read(tmp_path, {LOG: b"\xff\xfe\x00 rate=7 \xff\r\n"}) == 7.0


def test_a_line_of_megabytes_is_read(tmp_path: Path) -> None:
    assert _read(tmp_path, {LOG: b"x" * 3_000_000 + b" rate=4\n"}, pattern=r" rate=(\d)") == 4.0


def test_a_line_longer_than_the_limit_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LINE_BYTES_MAX", 100)
    assert "line 2 is longer than 100 bytes" in str(
        _read(tmp_path, {LOG: b"rate=1\n" + b"x" * 101})
    )


def test_json_lines_give_a_dotted_key_and_other_lines_are_ignored(tmp_path: Path) -> None:
    log = b'start\n[1]\n{"a": {"b": 1}}\n{"a": 5}\n{"a": {"b": 2.5}}\n{"a": {"b"\n'
    assert _read(tmp_path, {LOG: log}, json_key="a.b") == 2.5


def test_a_key_with_a_dot_in_it_is_found(tmp_path: Path) -> None:
    assert _read(tmp_path, {LOG: b'{"a.b": 3}\n'}, json_key="a.b") == 3.0


@pytest.mark.parametrize("value", ["null", "true", '"x"', "NaN", "[1]", "1" + "0" * 400])
def test_a_json_value_that_is_no_number_is_a_reason(tmp_path: Path, value: str) -> None:
    assert "line 1" in str(_read(tmp_path, {LOG: f'{{"a": {value}}}'.encode()}, json_key="a"))


def test_json_nested_beyond_reason_is_ignored(tmp_path: Path) -> None:
    log = b'{"a":' * 100_000 + b'\n{"a": 1}\n'
    assert _read(tmp_path, {LOG: log}, json_key="a") == 1.0


@pytest.mark.parametrize(
    ("glob", "expected"),
    [("out/*.txt", 3.0), ("**/*.txt", 7.0), ("./top.txt", 4.0), ("out/[!a].txt", 2.0)],
)
def test_collected_files_are_chosen_by_glob(tmp_path: Path, glob: str, expected: float) -> None:
    files = {
        "main-0@n1/files/out/a.txt": b"rate=1\n",
        "main-0@n1/files/out/b.txt": b"rate=2\n",
        "main-0@n1/files/top.txt": b"rate=4\n",
        LOG: b"rate=100\n",
    }
    assert _read(tmp_path, files, file=glob, within="sum") == expected


def test_a_saved_attempt_can_be_read_again_with_another_metric(tmp_path: Path) -> None:
    entry = record(trial(), artifacts=(artifact(tmp_path, LOG, b"rate=1 late=9\n"),))
    spec = MetricSpec(process="main", pattern=r"late=(\d)")
    assert read_again(entry, tmp_path, {"late": spec}) == ({"late": 9.0}, {})


def test_sums_beyond_the_floats_are_a_reason(tmp_path: Path) -> None:
    log = b"rate=1e308\nrate=1e308\n"
    assert "too large" in str(_read(tmp_path, {LOG: log}, within="sum"))


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300), noise=st.sampled_from([b"rate=", b'{"rate": ', b"", b"\n"]))
def test_any_bytes_give_a_finite_number_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for spec in ({"pattern": r"rate=(.*)"}, {"json_key": "rate"}):
        result = _read(folder, {LOG: noise + content}, **spec)
        assert isinstance(result, str) or math.isfinite(result)


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_float_that_python_prints_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("floats")
    log = "".join(f"rate={number!r}\n" for number in numbers).encode()
    assert _read(folder, {LOG: log}, within="last") == numbers[-1]
    assert _read(folder, {LOG: log}, within="max") == max(numbers)
