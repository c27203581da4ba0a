"""One simulated cloud for each module of tests, and a region of its own for each test."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from cloud.client import Cloud
from cloud.settings import Settings
from cloud.using import make_key

# Few enough regions that each test of a module has one for itself, and all of them have a t3.micro.
REGIONS = ("eu-west-1", "eu-west-2", "eu-central-1", "us-east-2", "us-west-2", "ap-southeast-2")
_numbers = itertools.count()

Client = Callable[..., Any]


@pytest.fixture(scope="module")
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    """With the module's SETTINGS, if it has any."""
    settings = getattr(request.module, "SETTINGS", {})
    with Cloud.start(tmp_path_factory.mktemp("cloud"), **settings) as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def usual(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test sets is set back for the next one."""
    yield
    if "cloud" in request.fixturenames:
        defaults = dataclasses.asdict(Settings())
        usual = {**defaults, **getattr(request.module, "SETTINGS", {})}
        request.getfixturevalue("cloud").set(**usual)


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    """Clients of one session share botocore's models, which take long to load."""
    return boto3.Session(
        aws_access_key_id="AKIASIMULATED0000000", aws_secret_access_key="simulated"
    )


@pytest.fixture
def client(cloud: Cloud, session: boto3.Session) -> Client:
    """`client("ssm", "eu-west-1")`: it tries each call once."""

    def made(service: str, region: str = "us-east-1") -> Any:
        return session.client(
            service,
            region_name=region,
            endpoint_url=cloud.endpoint,
            config=Config(retries={"total_max_attempts": 1, "mode": "standard"}, proxies={}),
        )

    return made


@pytest.fixture
def region() -> str:
    return REGIONS[next(_numbers) % len(REGIONS)]


@pytest.fixture
def ec2(client: Client, region: str) -> Any:
    return client("ec2", region)


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key; the public one is beside it."""
    return make_key(tmp_path_factory.mktemp("key") / "id")
