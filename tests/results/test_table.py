from __future__ import annotations

import pytest
from evidence import record, trial

from cloister.config.spec import ExperimentSpec
from cloister.results.numbers import number
from cloister.results.statistics import Table, summary
from cloister.results.table import cells_wide, rendered


def _table(values: int = 2) -> Table:
    spec = ExperimentSpec.model_validate(
        {
            "name": "ping",
            "parameters": {"mode": "fast"},
            "sweep": {"n": [1, 2]},
            "repeats": 2,
            "processes": {"main": {"role": "w", "command": "true"}},
            "metrics": {
                "rate": {"process": "main", "pattern": "(x)", "unit": "op/s"},
                "late": {"process": "main", "pattern": "(x)", "unit": "ms"},
            },
        }
    )
    records = [
        record(trial({"mode": "fast", "n": 1}, n), metrics={"rate": 1000.0 * n, "late": 0.5})
        for n in range(1, values + 1)
    ]
    return summary(records, spec)


def test_without_a_terminal_everything_is_side_by_side() -> None:
    assert rendered(_table()) == (
        "ping  (mode=fast)\n"
        "n       n  rate (op/s) mean  median         95 % CI  late (ms) mean  median     95 % CI\n"
        "1       2             1,500   1,500  [1,000, 2,000]             0.5     0.5  [0.5, 0.5]\n"
        "2  0 of 2                 –       –               –               –       –           –\n"
    )


def test_on_a_narrower_terminal_the_metrics_follow_each_other() -> None:
    assert rendered(_table(), width=60) == (
        "ping  (mode=fast)\n"
        "rate (op/s)\n"
        "n       n   mean  median         95 % CI\n"
        "1       2  1,500   1,500  [1,000, 2,000]\n"
        "2  0 of 2      –       –               –\n"
        "\n"
        "late (ms)\n"
        "n       n  mean  median     95 % CI\n"
        "1       2   0.5     0.5  [0.5, 0.5]\n"
        "2  0 of 2     –       –           –\n"
    )


def test_on_the_narrowest_every_value_has_a_line() -> None:
    text = rendered(_table(), width=24)
    assert text.startswith("ping  (mode=fast)\nn=1\n  n = 2\n  rate (op/s)\n    mean 1,500\n")
    assert max(map(len, text.splitlines())) <= 27


def test_one_trial_has_no_interval() -> None:
    assert "1  1 of 2 " in rendered(_table(values=1))
    assert "[" not in rendered(_table(values=1))


def test_colour_is_only_where_it_is_asked_for() -> None:
    assert "\x1b[" not in rendered(_table())
    assert "\x1b[" in rendered(_table(), color=True)


def test_markdown_has_a_table_for_each_metric() -> None:
    text = rendered(_table(), form="markdown")
    assert "### ping" in text
    assert "**late (ms)**" in text
    assert "| 1 | 2 | 1,500 | 1,500 | [1,000, 2,000] |" in text


def test_wide_characters_take_two_cells() -> None:
    assert (cells_wide("abc"), cells_wide("日本"), cells_wide("e\u0301")) == (3, 4, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (12345.678, "12,346"),
        (-0.012345, "-0.01235"),
        (1234567890123.0, "1.235e12"),
        (2.5e-7, "2.5e-7"),
        (99999.99, "100,000"),
        (1000.0, "1,000"),
        (None, "–"),
    ],
)
def test_numbers_have_four_digits(value: float | None, text: str) -> None:
    assert number(value) == text
