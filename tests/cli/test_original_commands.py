"""The commands of the first cloister, as they were typed: options before the command, one flat JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from calling import Called, Caller
from cloud.client import Cloud

# The sample of its README, with the keys of its last version.
FLAT = {
    "identity_file": "me",
    "key_pair": "~/me.pem",
    "cluster_name": "clamor",
    "driver_file": "servers/driver.txt",
    "servers_file": "servers/servers.txt",
    "user": "ubuntu",
    "instance_type": "c7i.large",
    "driver_instance_type": "m7i.large",
    "ami": "latest",
    "ami_tag": "mine",
    "ami_instance_ip": "127.99.99.99",
    "region": "us-east-1",
    "nworkers": 4,
    "root_size": 30,
    "swap_size_driver": 16,
}
# Each with what it says where no cluster `mine` has been launched.
COMMANDS = {
    "launch --dry-run": (0, "+ launch workers2"),
    "destroy": (0, "nothing found, nothing left"),
    "login": (1, "there is no cluster mine"),
    "copy-dns": (1, "there is no cluster mine"),
    "redeploy": (1, "there is no cluster mine"),
    "run-command uptime": (1, "there is no cluster mine"),
    "download-logs ring 01312026_1200": (1, "there is no cluster mine"),
    "erase-logs ring 01312026_1200": (1, "there is no cluster mine"),
    "erase-all-logs ring": (1, "there is no cluster mine"),
    "copy-id-rsa": (1, "there is no cluster mine"),
    "attach-swap": (1, "there is no cluster mine"),
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    images = [{"name": "mine-1", "owner": "self", "created": "2026-01-02T03:04:05.000Z"}]
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud.start(folder, regions=["us-east-1"], api_only=True, images=images) as cloud:
        yield cloud


def typed(here: Caller, cloud: Cloud, line: str) -> Called:
    (here.folder / "conf.json").write_text(json.dumps(FLAT))
    command = ["-c", "conf.json", "-l", "mine", "-n", "2", *line.split()]
    return here(*command, **cloud.variables)


@pytest.mark.parametrize("line", COMMANDS)
def test_it_is_accepted_and_makes_nothing_where_there_is_no_cluster(
    line: str, here: Caller, cloud: Cloud
) -> None:
    """Any of them made two security groups that were open to the world."""
    before = cloud.billable()
    status, text = COMMANDS[line]
    called = typed(here, cloud, line)
    assert called.status == status, called
    assert text in called.stdout + called.stderr
    assert cloud.billable() == before


def test_the_development_instance_is_the_one_that_the_file_names(
    here: Caller, cloud: Cloud
) -> None:
    """Nothing listens there: ssh says so, with its own exit status."""
    called = typed(here, cloud, "login-ami")
    assert called.status == 255
    assert FLAT["ami_instance_ip"] in called.stderr


def test_an_unknown_command_is_wrong_usage(here: Caller) -> None:
    """The original's exit status was 0."""
    called = here("-l", "mine", "lunch")
    assert called.status == 2
    assert "No such command 'lunch'" in called.stderr


def test_no_command_is_wrong_usage_and_shows_the_help(here: Caller) -> None:
    called = here()
    assert called.status == 2
    assert "\n  launch " in called.stdout + called.stderr
    assert here("-l", "mine").status == 2
