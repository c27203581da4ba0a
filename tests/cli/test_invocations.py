"""What a user can get wrong: a status, a message that says what, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from calling import PROGRAM, ROOT, Caller

from cloister.cli import cli

# Files of the folder in which the invocations below are made.
FILES = {
    "good.yaml": "cluster: {name: good, roles: {workers: 1}}\n"
    "experiments:\n  - name: e\n    processes: {p: {role: workers, command: 'true'}}\n",
    "results.yaml": "experiments:\n  - name: e\n    processes: {p: {role: workers, command: 'true'}}\n"
    "cluster: {name: good, roles: {workers: 1}}\nresults: {folder: good.yaml/results}\n",
    "no-workers.yaml": "cluster: {name: good, roles: {servers: 1}}\n",
    "no-cluster.yaml": "results: {folder: r}\n",
    "no-nodes.yaml": "cluster: {name: none, roles: {workers: 0}}\n",
    "no-source.yaml": "cluster: {name: good, roles: {workers: 1}}\n"
    "deploy: [{source: nowhere, target: t}]\n",
    "empty.yaml": "",
    "list.yaml": "- a\n- b\n",
    "broken.yaml": "cluster: {name: [\n",
    "broken.json": '{"cluster": ',
    "broken.toml": "[cluster\n",
    "imageless.yaml": "cluster: {name: good, provider: ec2, roles: {workers: 1}}\n",
    "typo.yaml": "clutser: {name: good}\n",
    "notes.txt": "hello",
}

# Command line → exit status, and what the message says.
INVOCATIONS: dict[str, tuple[int, str]] = {
    "run-command tail -n 5 x.log": (2, "-n stands between the words of the remote command"),
    "run-command rm -r workers old": (2, "quote the remote command"),
    "run-command grep --config=x y z": (2, "an option of run-command too"),
    "extend nan": (2, "no duration"),
    "extend inf": (2, "no duration"),
    "frobnicate": (2, "No such command 'frobnicate'"),
    "launch --frobnicate": (2, "No such option"),
    "plan": (2, "no configuration"),
    "launch": (2, "cloister init"),
    "plan -c missing.yaml": (2, "missing.yaml"),
    "plan -c .": (2, "."),
    "plan -c binary.yaml": (2, "binary.yaml"),
    "plan -c empty.yaml": (2, ""),
    "plan -c list.yaml": (2, "list.yaml:1"),
    "plan -c broken.yaml": (2, "broken.yaml:"),
    "plan -c broken.json": (2, "broken.json:1"),
    "plan -c broken.toml": (2, "broken.toml:1"),
    "plan -c typo.yaml": (2, "did you mean"),
    "plan -c notes.txt": (2, "notes.txt"),
    "plan -c": (2, "requires an argument"),
    "launch -c no-cluster.yaml": (2, "no `cluster` part"),
    "launch -c no-nodes.yaml": (2, "at least one role that has nodes"),
    "launch -c good.yaml -n two": (2, "'two' is not a valid integer"),
    "launch -c good.yaml -n -1": (2, "-1"),
    "launch -c good.yaml -n 100000": (2, "less than or equal to 1000"),
    "launch -c no-workers.yaml -n 2": (2, "no role `workers`"),
    "launch -c good.yaml -l Bad_Name": (2, "-l"),
    "launch -c good.yaml --servers good.yaml": (2, "is a file"),
    "launch -c good.yaml -n 0": (2, "no nodes"),
    "launch -c good.yaml --wait soon": (2, "soon"),
    "launch -c good.yaml --wait -3": (2, "-3"),
    "run -c good.yaml": (1, "there is no cluster good"),
    "run -c no-cluster.yaml": (2, "no experiments"),
    "run -c good.yaml -e nope": (2, "no experiment 'nope'"),
    "results -c good.yaml -e nope": (2, "no experiment 'nope'"),
    "results -c good.yaml --export xls": (2, "'xls' is not one of"),
    "sync -c no-source.yaml": (1, "no cluster"),
    "ps -c good.yaml": (1, "there is no cluster good"),
    "ps --stop a --log b": (2, "one of --stop, --log and --wait"),
    "login": (1, "there is no cluster"),
    "login -l good": (1, "there is no cluster good"),
    "copy-dns": (1, "there is no cluster"),
    "copy-dns --within soon": (2, "soon"),
    "login-ami -c good.yaml": (2, "names no development instance"),
    "redeploy -c good.yaml": (2, "neither sources to deploy nor a development instance"),
    "redeploy -c good.yaml --from elsewhere": (2, "elsewhere"),
    "inventory": (1, "there is no cluster"),
    "inventory --format toml": (2, "'toml' is not one of"),
    "copy-id-rsa": (1, "there is no cluster"),
    "attach-swap -c good.yaml": (1, "there is no cluster good"),
    "download-logs ring": (2, "Missing argument"),
    "download-logs ../ring 1": (2, "'../ring' is not the name of a benchmark"),
    "erase-logs ring *": (2, "'*' is not a timestamp"),
    "erase-all-logs ring": (1, "there is no cluster"),
    "run-command": (2, "Missing argument"),
    "run-command true": (1, "there is no cluster"),
    "destroy": (1, "there is no cluster"),
    "destroy -l ../etc": (2, "is not a name of a cluster"),
    "destroy -c imageless.yaml": (2, "imageless.yaml:1: cluster.roles.workers"),
    "run-command -c imageless.yaml true": (2, "imageless.yaml:1: cluster.roles.workers"),
    "ls surplus": (2, "unexpected extra argument"),
    "init good.yaml": (2, "exists already"),
    "init no/such/folder/x.yaml": (1, "no/such/folder/x.yaml"),
    "completion tcsh": (2, "'tcsh' is not one of"),
}


@pytest.fixture
def mistaken(here: Caller) -> Caller:
    for name, text in FILES.items():
        (here.folder / name).write_text(text)
    (here.folder / "binary.yaml").write_bytes(bytes(range(256)))
    return here


@pytest.mark.parametrize("line", INVOCATIONS)
def test_it_is_said_what_is_wrong_with(line: str, mistaken: Caller) -> None:
    status, text = INVOCATIONS[line]
    called = mistaken(*line.split())
    assert called.status == status, called
    assert text in called.stderr
    assert "internal error" not in called.stderr
    assert called.stdout == ""
    assert not (mistaken.state / "clusters").exists(), "a mistake must not leave anything"


def test_what_a_configuration_with_problems_keeps_from_being_seen_is_said(mistaken: Caller) -> None:
    called = mistaken("ls", "-c", "imageless.yaml")
    assert called.status == 3
    assert "good (as configured): not seen: imageless.yaml:1: cluster.roles" in called.stdout
    told = mistaken.ok("destroy", "-c", "imageless.yaml", "--provider", "local")
    assert told.stdout == "good: nothing found, nothing left\n"


def test_an_export_that_cannot_be_written_is_named(mistaken: Caller) -> None:
    called = mistaken("results", "-c", "results.yaml", "--export", "csv")
    assert called.status == 1
    assert "good.yaml/results" in called.stderr
    assert "internal error" not in called.stderr


def test_a_state_folder_that_cannot_be_made_is_named(mistaken: Caller) -> None:
    called = mistaken("launch", "-c", "good.yaml", CLOISTER_STATE="/proc/none")
    assert called.status == 1
    assert "/proc/none" in called.stderr
    assert "internal error" not in called.stderr


@pytest.mark.parametrize("command", ["schema", "--help"])
def test_a_reader_that_goes_away_is_no_error(command: str, here: Caller) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = here.start(command, stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=30)
    assert errors == ""
    assert process.returncode in (1, 141)


@pytest.mark.parametrize("name", list(cli.commands))
def test_the_help_of_a_command_shows_an_example(name: str, here: Caller) -> None:
    shown = here.ok(name, "--help").stdout
    assert "Example:" in shown
    assert f"cloister {name}" in shown
    assert here.ok(name, "-h").stdout == shown


def test_help_names_every_command(here: Caller) -> None:
    shown = here.ok("--help").stdout
    assert all(f"\n  {name} " in shown for name in cli.commands)
    assert "Example:" in shown


def test_debug_shows_the_traceback(here: Caller) -> None:
    done = subprocess.run(
        [PROGRAM, "--debug", "login"],
        cwd=here.folder,
        env=here.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, here: Caller) -> None:
    script = here.ok("completion", shell).stdout
    assert "_CLOISTER_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_completion_knows_commands_and_options(here: Caller) -> None:
    def completed(words: str) -> str:
        return here(
            _CLOISTER_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        ).stdout

    assert completed("cloister la").split() == ["plain,launch"]
    assert "plain,--accept-changed" in completed("cloister run --acc").split()


@pytest.mark.parametrize("program", [[ROOT / "cloister.py"], ["-m", "cloister"]])
def test_without_its_script_it_is_started_from_anywhere(
    here: Caller, program: list[str | Path]
) -> None:
    done = subprocess.run(
        [sys.executable, *program, "schema"],
        cwd=here.folder,
        env=here.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "properties" in json.loads(done.stdout)


def test_options_go_before_or_after_the_command(mistaken: Caller) -> None:
    before = mistaken.ok("-c", "good.yaml", "-n", "3", "plan", "--json").json
    after = mistaken.ok("plan", "-c", "good.yaml", "-n", "3", "--json").json
    assert before == after
    assert len(before["actions"]) == 3


def test_a_label_gives_the_cluster_another_name(mistaken: Caller) -> None:
    assert mistaken.ok("plan", "-c", "good.yaml", "-l", "mine", "--json").json["cluster"] == "mine"


def test_doctor_says_what_to_mend(mistaken: Caller) -> None:
    assert mistaken("doctor", "-c", "good.yaml").status == 0
    called = mistaken("doctor", "-c", "typo.yaml")
    assert called.status == 1
    assert "BAD" in called.stdout
    assert "did you mean" in called.stdout
    findings = mistaken("doctor", "-c", "no-source.yaml", "--json").json
    assert any(not finding["ok"] and "nowhere" in finding["found"] for finding in findings)


def test_init_writes_what_every_command_accepts(here: Caller) -> None:
    here.ok("init")
    planned = here.ok("plan", "--json").json
    assert len(planned["actions"]) == 2
    assert Path(here.folder / "cloister.yaml").read_text().startswith("#")
