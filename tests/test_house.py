"""The house rules that can be read off the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cloister

PACKAGE = Path(cloister.__file__).parent
STAGES = [
    "config",
    "plan",
    "providers",
    "cluster",
    "agent",
    "transport",
    "deploy",
    "experiment",
    "results",
    "cli",
]
# Library → the stages that may import it.
BELONGS = {
    "boto3": {"providers"},
    "botocore": {"providers"},
    "fabric": {"transport"},
    "paramiko": {"transport"},
    "matplotlib": {"results"},
    "click": {"cli"},
    "yaml": {"config"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(item, ast.Import):
            yield from (alias.name for alias in item.names)
        elif isinstance(item, ast.ImportFrom) and item.module:
            yield item.module
            yield from (f"{item.module}.{alias.name}" for alias in item.names)


def stage_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "cloister" and len(parts) > 1 and parts[1] in STAGES else None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_stage_imports_only_from_the_stages_above_it(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    if own not in STAGES:
        return
    for name in imports(path):
        stage = stage_of(name)
        assert stage is None or STAGES.index(stage) <= STAGES.index(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_library_lives_in_one_stage(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    for name in imports(path):
        allowed = BELONGS.get(name.split(".")[0])
        assert allowed is None or own in allowed, f"{own} imports {name}"


def test_the_agent_imports_nothing_of_ours_and_nothing_installed() -> None:
    for path in (PACKAGE / "agent").glob("*.py"):
        for name in imports(path):
            assert name.split(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from cloister.cli import main; main(['--help'])\n"
        "heavy = {'boto3', 'fabric', 'paramiko', 'matplotlib', 'pydantic', 'rich', 'yaml', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stderr.strip() == "[]"
    assert "launch" in result.stdout


def test_the_architecture_names_every_stage_and_is_short() -> None:
    text = (PACKAGE.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert all(f"  {stage}/" in text for stage in STAGES)
    assert len(text.splitlines()) <= 150
