"""How the development instance is reached, as the real ssh understands it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cloister.cluster.development import Development, development_of, expect_folders
from cloister.config.ec2_spec import DevelopmentSpec
from cloister.config.spec import ClusterSpec
from cloister.errors import UsageError


def spec(development: Any, **ssh: Any) -> ClusterSpec:
    data = {"name": "demo", "ec2": {"development": development}, "ssh": ssh}
    return ClusterSpec.model_validate(data)


def resolved(development: Development, config: Path) -> dict[str, str]:
    command = [*development.ssh(), "-F", str(config), "-G", "--", development.address]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.partition(" ")[::2] for line in answer.stdout.splitlines())


def test_it_is_reached_as_the_nodes_are_unless_it_says_otherwise(tmp_path: Path) -> None:
    found = development_of(spec("dev.example", user="me", port=2200, key="k"), tmp_path)
    assert (found.user, found.port, found.key) == ("me", 2200, "k")
    own = {"address": "dev.example", "user": "you", "port": 22, "key": "other"}
    found = development_of(spec(own, user="me", port=2200, key="k"), tmp_path)
    assert (found.user, found.port, found.key) == ("you", 22, "other")


def test_its_host_key_is_pinned_and_no_agent_is_lent_whatever_the_user_has_configured(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  ForwardAgent yes\n  StrictHostKeyChecking no\n  User somebody\n")
    found = resolved(development_of(spec("dev.example"), tmp_path / "my state"), config)
    assert found["forwardagent"] == "no"
    assert found["stricthostkeychecking"] == "accept-new"
    assert found["userknownhostsfile"].startswith(f"{tmp_path}/my state/development/known_hosts ")
    assert found["user"] == "somebody"


def test_without_one_it_is_said_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no development instance") as caught:
        development_of(spec(None), tmp_path)
    assert "development: {address:" in caught.value.hint
    with pytest.raises(UsageError, match="no folders"):
        expect_folders(development_of(spec("dev.example"), tmp_path))


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/etc", "~", "~/x", "a/../..", ".ssh", ".ssh/id", "a b", "$x"]
)
def test_what_is_not_safely_below_the_home_is_no_folder_to_copy(path: str) -> None:
    with pytest.raises(ValidationError):
        DevelopmentSpec(address="dev.example", folders=[path])


def test_folders_may_be_nested_and_hidden() -> None:
    given = ["clamor/", "a/b", ".bashrc"]
    assert DevelopmentSpec(address="dev", folders=given).folders == ["clamor", "a/b", ".bashrc"]
