from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from agent_on_pipes import AgentOnPipes

import cloister.agent
from cloister.transport import bundle

MODULES = sorted(Path(cloister.agent.__file__).parent.glob("*.py"))
VERMIN = Path(sys.executable).with_name("vermin")


def test_the_agent_is_written_for_python_3_8() -> None:
    if not VERMIN.exists():
        pytest.skip("vermin is not installed beside this Python")
    checked = subprocess.run(
        [VERMIN, "-q", "--no-tips", "-t=3.8-", "--violations", *MODULES],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_agent_imports_nothing_but_the_standard_library(module: Path) -> None:
    imported: set[str] = set()
    for item in ast.walk(ast.parse(module.read_text(), feature_version=(3, 8))):
        match item:
            case ast.Import(names=names):
                imported.update(alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=name, level=level):
                assert level == 0, f"a relative import at line {item.lineno}"
                imported.add((name or "").partition(".")[0])
    assert imported <= sys.stdlib_module_names


def test_the_agent_needs_no_installed_package_and_no_file_of_ours(tmp_path: Path) -> None:
    """-I -S keep site-packages and this checkout away from it; no environment points there either."""
    environment = {"PATH": os.defpath}
    with AgentOnPipes(cwd=tmp_path, env=environment) as agent:
        agent.greet()
        for operation in sorted(bundle.MODULE_OF):
            agent.write(agent.load(operation))
        assert agent.call("echo") is None
        assert list(tmp_path.iterdir()) == []


def run_everywhere(agent: AgentOnPipes, folder: Path) -> None:
    """One operation of each module."""
    agent.greet()
    identity = next(agent.numbers)
    agent.write(agent.call_frame(identity, "start", command=["echo", "ü"], once=True))
    frames = agent.until(lambda frame: frame[0] == "q" and frame[1] == identity)
    assert ("o", identity, "ü\n".encode()) in frames
    agent.call("make_folder", path=str(folder / "made"))
    assert (folder / "made").is_dir()
    assert agent.call("facts")["cpus"] > 0
    assert isinstance(agent.call("listening_ports"), list)
    assert agent.call("detached") == []


def test_the_source_is_sent_where_the_byte_code_is_foreign(tmp_path: Path) -> None:
    magic_at = 4
    message = bytearray(bundle.first_message())
    message[magic_at] ^= 0xFF
    with AgentOnPipes(first_message=bytes(message), same_python=False, cwd=tmp_path) as agent:
        run_everywhere(agent, tmp_path)


def pythons() -> list[Path]:
    """Every other version on this machine: on the PATH, or where pyenv puts them."""
    found = [shutil.which(f"python3.{minor}") for minor in range(6, 16)]
    paths = [Path(path) for path in found if path]
    paths += sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    return paths


def version_of(python: Path) -> tuple[int, int]:
    said = subprocess.run(
        [python, "-I", "-c", "import sys; print(*sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=False,
    )
    major, minor = said.stdout.split() or ("0", "0")
    return int(major), int(minor)


def with_python(python: Path) -> list[str]:
    """The agent's start command, made to find only this Python."""
    command = bundle.start_command()
    assert "/usr/bin/python3 " in command
    return ["sh", "-c", command.replace("/usr/bin/python3 ", f"{python} ", 1)]


def test_the_agent_runs_on_the_oldest_and_the_newest_python_of_this_machine(tmp_path: Path) -> None:
    versions = {version_of(python): python for python in pythons()}
    others = {version: python for version, python in versions.items() if version >= (3, 8)}
    if not others:
        pytest.skip("this machine has only one Python")
    for version, python in {each: others[each] for each in (min(others), max(others))}.items():
        folder = tmp_path / f"{version[1]}"
        folder.mkdir()
        same = version == sys.version_info[:2]
        with AgentOnPipes(command=with_python(python), same_python=same, cwd=folder) as agent:
            run_everywhere(agent, folder)


def test_a_python_older_than_3_8_says_its_version_and_ends(tmp_path: Path) -> None:
    versions = {version_of(python): python for python in pythons()}
    old = [max(found)] if (found := [v for v in versions if (3, 5) <= v < (3, 8)]) else []
    if not old:
        pytest.skip("this machine has no Python that old")
    for version in old:
        with AgentOnPipes(command=with_python(versions[version]), cwd=tmp_path) as agent:
            said = b""
            while data := agent.read():
                said += data
            assert said == bundle.HELLO + b"%d.%d\0" % version
