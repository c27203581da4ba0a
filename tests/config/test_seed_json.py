"""The flat JSON files of the first cloister load unchanged, in all the forms that it had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.config.loading import Configuration, cluster_name_in, load
from cloister.errors import ConfigurationError

OLDER = {
    "identity_file": "someone-key",
    "key_pair": "/home/someone/someone-key.pem",
    "cluster_name": "someone-clamor",
    "master_file": "servers/master.txt",
    "servers_file": "servers/servers.txt",
    "user": "ubuntu",
    "instance_type": "m5.xlarge",
    "ami": "latest",
    "ami_tag": "someone-clamor",
    "ami_instance_ip": "ec2-192-0-2-1.compute-1.amazonaws.com",
    "region": "us-east-1",
    "nworkers": 4,
}
NEWER = {
    **{key: value for key, value in OLDER.items() if key != "master_file"},
    "driver_file": "servers/driver.txt",
    "driver_instance_type": "r5.2xlarge",
    "datagen_instance_ip": "",
    "root_size": 100,
    "swap_size_driver": 64,
    "ami": "ami-0123456789abcdef0",
}


def loaded(tmp_path: Path, data: dict[str, Any]) -> Configuration:
    file = tmp_path / "ps_config.json"
    file.write_text(json.dumps(data, indent=2))
    return load([file])


def test_the_older_form_means_the_same(tmp_path: Path) -> None:
    cluster = loaded(tmp_path, OLDER).cluster
    assert cluster is not None
    assert (cluster.name, cluster.provider) == ("someone-clamor", "ec2")
    assert list(cluster.roles) == ["master", "manager", "workers"]
    assert (cluster.roles["master"].count, cluster.roles["manager"].same_as) == (1, "master")
    assert cluster.roles["workers"].count == 4
    assert (cluster.ec2.region, cluster.ec2.machine) == ("us-east-1", "m5.xlarge")
    assert cluster.ec2.image is not None
    assert (cluster.ec2.image.ami, cluster.ec2.image.ami_tag) == ("latest", "someone-clamor")
    assert (cluster.ec2.disk, cluster.ec2.key_pair) == (None, "someone-key")
    assert (cluster.ssh.user, cluster.ssh.key) == ("ubuntu", "/home/someone/someone-key.pem")


def test_the_newer_form_means_the_same(tmp_path: Path) -> None:
    cluster = loaded(tmp_path, NEWER).cluster
    assert cluster is not None
    assert list(cluster.roles) == ["driver", "manager", "workers"]
    assert cluster.roles["driver"].machine == "r5.2xlarge"
    assert cluster.ec2.disk == 100
    assert (cluster.roles["driver"].swap, cluster.roles["workers"].swap) == (64, None)
    assert cluster.ec2.development is not None
    assert cluster.ec2.development.address == "ec2-192-0-2-1.compute-1.amazonaws.com"
    assert cluster.ec2.development.folders == ["clamor", "weld", "cloister", ".bashrc"]
    assert cluster.ec2.image is not None
    assert (cluster.ec2.image.ami, cluster.ec2.image.ami_tag) == ("ami-0123456789abcdef0", None)


@pytest.mark.parametrize("value", ["", None, False])
def test_a_driver_without_a_type_of_its_own_has_the_workers(tmp_path: Path, value: object) -> None:
    cluster = loaded(tmp_path, {**NEWER, "driver_instance_type": value}).cluster
    assert cluster is not None
    assert cluster.roles["driver"].machine is None


def test_the_newest_image_without_a_tag_is_the_one_that_the_original_took(tmp_path: Path) -> None:
    data = {key: value for key, value in OLDER.items() if key != "ami_tag"}
    cluster = loaded(tmp_path, data).cluster
    assert cluster is not None and cluster.ec2.image is not None
    assert cluster.ec2.image.ami_tag == "clamor"


def test_what_is_ignored_or_was_unsafe_is_said_in_a_line_each(tmp_path: Path) -> None:
    notes = loaded(tmp_path, {**NEWER, "tables": {"a": 1}}).notes
    said = [note.rpartition("ps_config.json: ")[2].partition(":")[0] for note in notes]
    assert said == [
        "servers_file",
        "datagen_instance_ip",
        "tables",
        "unsafe, not done",
    ]


def test_a_name_that_cannot_be_one_today_is_changed_and_it_is_said(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, {**OLDER, "cluster_name": "Clamor_Test"})
    assert configuration.cluster is not None
    assert configuration.cluster.name == "clamor-test"
    assert "'Clamor_Test' is called 'clamor-test'" in configuration.notes[0]
    assert cluster_name_in([tmp_path / "ps_config.json"]) == "clamor-test"


def test_a_label_of_its_time_is_changed_alike(tmp_path: Path) -> None:
    loaded(tmp_path, OLDER)
    files = [tmp_path / "ps_config.json"]
    assert cluster_name_in(files, "Clamor_Test2") == "clamor-test2"
    assert cluster_name_in(files, "other") == "other"
    (tmp_path / "new.yaml").write_text("cluster: {name: mine}\n")
    assert cluster_name_in([tmp_path / "new.yaml"], "Clamor_Test") == "Clamor_Test"
    assert cluster_name_in([], "Clamor_Test") == "Clamor_Test"


@pytest.mark.parametrize(
    ("given", "name"), [("exp1", "exp1"), ("exp-2", "exp-2"), ("2nd_try_3_", "nd-try-3")]
)
def test_digits_that_tell_clusters_apart_stay(tmp_path: Path, given: str, name: str) -> None:
    configuration = loaded(tmp_path, {**OLDER, "cluster_name": given})
    assert configuration.cluster is not None
    assert configuration.cluster.name == name


def test_what_is_wrong_is_said_in_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, {**OLDER, "nworkers": "four", "region": 7})
    lines = {problem.place.line: problem.key for problem in caught.value.problems}
    names = list(OLDER)
    assert lines[names.index("nworkers") + 2] == "cluster.roles.workers.count"
    assert lines[names.index("region") + 2] == "cluster.ec2.region"


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers())


@given(changes=st.dictionaries(st.sampled_from(sorted(NEWER)), VALUES, max_size=4))
def test_whatever_stands_in_it_is_loaded_or_explained(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("seed")
    try:
        loaded(folder, {**NEWER, **changes})
    except ConfigurationError as error:
        assert error.problems
