from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_on_pipes import AgentOnPipes
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.agent import core

ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentOnPipes]:
    with AgentOnPipes(cwd=tmp_path_factory.mktemp("home"), env={**os.environ}) as agent:
        agent.greet()
        yield agent


def ran(agent: AgentOnPipes, command: str, **arguments: object) -> tuple[int, bytes]:
    """Exit status and output."""
    identity = next(agent.numbers)
    agent.write(agent.call_frame(identity, "start", command=command, once=True, **arguments))
    frames = agent.until(lambda frame: frame[0] in "qe" and frame[1] == identity)
    kind, _, payload = frames[-1]
    assert kind == "q", payload
    status = core.OUTCOME.unpack(payload)[0]
    return status, b"".join(
        data for kind, number, data in frames if (kind, number) == ("o", identity)
    )


PLAIN = st.text("abcXYZ019_./:,@%+-= ", max_size=20)


@given(arguments=PLAIN)
def test_a_plain_command_has_the_words_that_a_shell_would_find(arguments: str) -> None:
    command = f"env {arguments}"
    argv = core.argv_of(command, ENVIRONMENT)
    if argv[1:2] != ["-c"]:
        assert argv == shlex.split(command)


@pytest.mark.parametrize(
    "command",
    [
        "echo a; echo b",
        "echo $HOME",
        "echo 'a  b'",
        'echo "a"',
        "echo ~",
        "echo *",
        "echo a|cat",
        "echo a # comment",
        "x=1 env",
        "cd .",
        "exit 3",
        ". ./file",
        "if true",
        "no-such-program-anywhere a",
        "",
        "  ",
        "a\tb",
        "echo a\necho b",
        "env ü",
    ],
)
def test_what_means_something_to_a_shell_goes_to_one(command: str) -> None:
    assert core.argv_of(command, ENVIRONMENT) == [core.shell(), "-c", command]


WORDS = st.sampled_from(
    [
        "a",
        "b=c",
        "%s",
        "-n",
        "-e",
        "-E",
        "--",
        "--help",
        "--version",
        "/",
        ".",
        "1",
        "-z",
        ":",
        "=",
        "%d%s",
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    program=st.sampled_from(["echo", "true", "false", "printf", "test", "expr"]),
    words=st.lists(WORDS, max_size=4),
)
def test_a_command_does_what_bash_does(agent: AgentOnPipes, program: str, words: list[str]) -> None:
    command = " ".join([program, *words])
    bash = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert ran(agent, command) == (bash.returncode, bash.stdout)


def test_a_script_without_a_first_line_runs_as_in_a_shell(
    agent: AgentOnPipes, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("echo from $0; exit 5\n")
    script.chmod(0o755)
    assert ran(agent, f"{script} a") == (5, f"from {script}\n".encode())
    assert ran(agent, "./script a", folder=str(tmp_path)) == (5, b"from ./script\n")


@pytest.mark.parametrize(
    ("name", "mode", "status"),
    [("missing", None, 127), ("not-executable", 0o644, 126), ("folder/", 0, 126)],
)
def test_what_cannot_be_run_has_the_status_that_a_shell_gives(
    agent: AgentOnPipes, tmp_path: Path, name: str, mode: int | None, status: int
) -> None:
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    elif mode is not None:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    assert ran(agent, str(tmp_path / name))[0] == status


def test_folders_come_from_where_the_command_runs(agent: AgentOnPipes, tmp_path: Path) -> None:
    assert ran(agent, "pwd", folder=str(tmp_path)) == (0, f"{tmp_path}\n".encode())
    assert ran(agent, "printenv PWD", folder=str(tmp_path)) == (0, f"{tmp_path}\n".encode())
