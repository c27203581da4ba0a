"""What the user asked for on EC2: machines, images, where they stand, who may reach them, for how long."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from cloister.config.fields import Duration, Model, Port

Family = Literal["ubuntu-24.04", "debian-12", "al2023"]
FAMILIES: tuple[Family, ...] = get_args(Family)
Market = Literal["on-demand", "spot"]
_AMI = re.compile(r"ami-[0-9a-f]{8,17}")
_PARAMETER = "resolve:ssm:"
# A shell or rsync takes no character of it for anything else.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.+@/-]+")


def _network(text: str) -> str:
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"expected addresses such as 192.0.2.7/32: {error}") from None
    if network.prefixlen == 0:
        raise ValueError("0.0.0.0/0 is the whole world: name the addresses that need it")
    return str(network)


Network = Annotated[str, AfterValidator(_network)]


def _like(pattern: str, example: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected something like {example}")
        return text

    return AfterValidator(check)


MachineType = Annotated[str, _like(r"[a-z0-9-]+\.[a-z0-9-]+", "c7i.large")]
Region = Annotated[str, _like(r"[a-z]{2}(-[a-z]+)+-[0-9]", "us-east-1")]


class ImageSpec(Model):
    """Where a node's image comes from; a text stands for `ami` or `family`."""

    ami: str | None = Field(
        None,
        description="An image id, `latest` (with ami_tag), or resolve:ssm:/path/of/a/public/parameter.",
    )
    ami_tag: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The newest image of this account whose name begins with this."
    )
    family: Family | None = Field(None, description="The newest image of its publisher.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {"family": value} if value in FAMILIES else {"ami": value}

    @model_validator(mode="after")
    def _one(self) -> ImageSpec:
        if (self.ami is None) == (self.family is None):
            raise ValueError("expected either ami or family")
        if (self.ami == "latest") != (self.ami_tag is not None):
            raise ValueError("ami: latest and ami_tag (the beginning of its name) go together")
        if self.ami is None or self.ami == "latest" or self.ami.startswith(_PARAMETER + "/"):
            return self
        if not _AMI.fullmatch(self.ami):
            raise ValueError(
                f"{self.ami!r} is no image: expected ami-…, latest, {_PARAMETER}/…"
                f" or one of {', '.join(FAMILIES)}"
            )
        return self


class MachineSpec(Model):
    """What a node is; a role's own values win over the cluster's."""

    machine: MachineType | Annotated[list[MachineType], Field(min_length=1)] | None = Field(
        None, description="EC2 machine type, or a list: the first one that can be had."
    )
    image: ImageSpec | None = None
    disk: Annotated[int, Field(ge=1, le=65_536)] | None = Field(
        None, description="GiB of the root volume; by default the image's."
    )
    zones: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Availability zones in order of preference; by default any."
    )
    market: Market | Annotated[list[Market], Field(min_length=1)] | None = Field(
        None, description="on-demand (default) or spot, or both in order of preference."
    )
    placement: Literal["cluster", "spread", "partition"] | None = Field(
        None, description="The strategy of a placement group for the role's nodes."
    )
    swap: Annotated[int, Field(ge=1, le=16_384)] | None = Field(
        None, description="GiB of a volume for swap, which `cloister attach-swap` gives each node."
    )

    @property
    def machines(self) -> tuple[str, ...]:
        return _each(self.machine)

    @property
    def markets(self) -> tuple[str, ...]:
        return _each(self.market)


def _each(value: str | list[Any] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


class ExposeSpec(Model):
    port: Port
    to: Network = Field(description="The addresses that may reach it, such as 192.0.2.0/24.")


class BudgetSpec(Model):
    dollars_max: float | None = Field(None, gt=0, allow_inf_nan=False)
    hours_max: float | None = Field(None, gt=0, allow_inf_nan=False)

    @property
    def limits(self) -> bool:
        """Whether it has a limit at all."""
        return self.dollars_max is not None or self.hours_max is not None


def _below_home(path: str) -> str:
    parts = path.rstrip("/").split("/")
    if any(part in ("", ".", "..", "~") for part in parts) or not _PLAIN_PATH.fullmatch(path):
        raise ValueError("expected a file or folder below the home, such as clamor or .bashrc")
    if parts[0] == ".ssh":
        raise ValueError(
            ".ssh is each machine's own: with another one the nodes could not be reached"
        )
    return "/".join(parts)


HomePath = Annotated[str, AfterValidator(_below_home)]


class DevelopmentSpec(Model):
    """The instance on which code is written and images are made of; a text stands for `address`."""

    address: str = Field(
        min_length=1, description="Its name or address, at which this machine reaches it."
    )
    user: str | None = Field(None, description="By default ssh.user.")
    port: Port | None = Field(None, description="By default ssh.port.")
    key: str | None = Field(None, description="By default ssh.key.")
    folders: list[HomePath] = Field(
        default_factory=list,
        description="What `cloister redeploy` copies to the nodes: files and folders below its user's home.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"address": value} if isinstance(value, str) else value


class Ec2Spec(MachineSpec):
    """Nodes that are EC2 instances. Credentials come from where every AWS tool takes them."""

    profile: str | None = Field(None, description="A profile of ~/.aws/config.")
    region: Region | None = Field(None, description="By default the profile's, or AWS_REGION.")
    vpc: str | None = Field(None, description="By default the region's default VPC.")
    subnets: list[str] = Field(
        default_factory=list, description="Subnets to use; by default the VPC's default ones."
    )
    security_groups: list[str] = Field(
        default_factory=list, description="Groups that the nodes get besides the cluster's own."
    )
    key_pair: str | None = Field(
        None,
        description="An existing key pair, whose private key ssh.key names; by default the cluster gets its own.",
    )
    access: Annotated[list[Network], Field(min_length=1)] | None = Field(
        None, description="Who may log in over SSH; by default the address that this machine has."
    )
    expose: list[ExposeSpec] = Field(
        default_factory=list, description="Ports that others may reach as well."
    )
    instance_profile: str | None = Field(
        None, description="An IAM instance profile; by default nodes have no AWS credentials."
    )
    lease: Duration = Field(
        4 * 3600.0, ge=300, description="Nodes end by themselves after so long."
    )
    schedule_role: (
        Annotated[str, _like(r"arn:[a-z-]+:iam::\d{12}:role/.+", "arn:aws:iam::…:role/…")] | None
    ) = Field(
        None,
        description="A role for EventBridge Scheduler, which then ends the nodes as well when the lease is over.",
    )
    budget: BudgetSpec = Field(default_factory=BudgetSpec)
    development: DevelopmentSpec | None = Field(
        None, description="For login-ami, redeploy and bake."
    )
    boot_within: Duration = Field(
        300.0, ge=1, description="A node that does not answer by then is replaced."
    )
