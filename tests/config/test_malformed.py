"""Every malformed configuration gives just the problems that its case says, at their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import Case, read_cases, shown

from cloister.config.loading import load
from cloister.errors import ConfigurationError

CASES = read_cases(Path(__file__).parent / "malformed")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_problem_is_reported_once_and_in_its_place(case: Case, tmp_path: Path) -> None:
    file = case.write(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        load([file])
    assert shown(caught.value.problems, tmp_path) == list(case.problems)
    assert {problem.place.file for problem in caught.value.problems} == {file}
    assert caught.value.exit_status == 2


def test_there_are_many_cases_in_every_format() -> None:
    assert len(CASES) >= 100
    assert {case.suffix for case in CASES} >= {".yaml", ".json", ".toml"}
    assert all(case.problems for case in CASES)
