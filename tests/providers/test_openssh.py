"""Which hosts the user's OpenSSH configuration tells apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.providers import openssh
from cloister.providers.openssh import host_patterns, matches


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, with nothing of the system's."""
    file = tmp_path / "config"
    monkeypatch.setattr(openssh, "_files", lambda: [file, tmp_path / "none"])
    return file


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("Host *\n  User me\n", [["*"]]),
        ("host=10.*  !10.0.0.1\nHost a b\n", [["10.*", "!10.0.0.1"], ["a", "b"]]),
        ("User me\nMatch exec true\n  Port 1\n", None),
        ("  Include more/*\nHost last\n", [["first"], ["last"]]),
    ],
)
def test_the_patterns_of_all_host_lines_are_found(
    config: Path, text: str, found: list[list[str]] | None
) -> None:
    (config.parent / "more").mkdir()
    (config.parent / "more" / "one").write_text("Host first\n")
    config.write_text(text)
    assert host_patterns() == found


def test_files_that_include_each_other_end(config: Path) -> None:
    config.write_text("Include config\n")
    assert host_patterns() is None


@pytest.mark.parametrize(
    ("host", "line", "fits"),
    [
        ("10.0.0.1", "10.*", True),
        ("10.0.0.1", "* !10.0.0.1", False),
        ("10.0.0.1", "!10.0.0.2", False),
        ("10.0.0.1", "10.0.0.?", True),
        ("a1", "a[1-9]", False),
    ],
)
def test_a_host_line_fits_as_openssh_has_it(host: str, line: str, fits: bool) -> None:
    assert matches(host, line.split()) == fits
