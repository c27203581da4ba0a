"""One simulated cloud for each module, and for each test a cluster name of its own; nothing may be left."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud.client import Cloud
from ec2_account import Account


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    # All thirty-four that moto knows would take each destroy a second.
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud.start(folder, regions=["us-east-1", "eu-west-1", "us-west-2"]) as cloud:
        yield cloud


@pytest.fixture
def account(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name, value in cloud.variables.items():
        monkeypatch.setenv(name, value)
    account = Account(cloud, tmp_path / "state", f"t{secrets.token_hex(4)}")
    yield account
    account.destroy()
    assert account.billable() == []
