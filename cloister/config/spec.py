"""What the user asked for: the models behind every configuration file.

Field descriptions are user documentation: `cloister schema` publishes them.
A text field marked *template* is a Jinja2 template; `experiment/templates.py` gives the names it may use.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from cloister.config.ec2_spec import Ec2Spec, MachineSpec, Region
from cloister.config.fields import (
    Count,
    Duration,
    Model,
    Name,
    Pattern,
    PatternWithGroup,
    Port,
    Scalar,
)

# --- the cluster ---------------------------------------------------------------------------------


class RoleSpec(MachineSpec):
    """How many nodes, and on EC2 what they are where that differs from the cluster's `ec2` part."""

    count: int = Field(1, ge=0, le=1000, description="How many nodes have this role.")
    regions: dict[Region, Annotated[int, Field(ge=0)]] | None = Field(
        None, description="EC2: region → how many of them are there; together they are `count`."
    )
    same_as: Name | None = Field(
        None,
        description="The role is carried by the nodes of that other role; it has no nodes of its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_count(cls, value: Any) -> Any:
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        """`regions` alone says how many there are."""
        if (
            isinstance(value, dict)
            and "count" not in value
            and isinstance(value.get("regions"), dict)
        ):
            numbers = list(value["regions"].values())
            if all(isinstance(number, int) for number in numbers):
                return {**value, "count": sum(numbers)}
        return value

    @model_validator(mode="after")
    def _sums_up(self) -> RoleSpec:
        if self.regions is not None and sum(self.regions.values()) != self.count:
            raise ValueError(
                f"count is {self.count}, the regions have {sum(self.regions.values())} together"
            )
        return self


class LocalSpec(Model):
    """Nodes that are sshd processes on this machine."""

    port: Port | None = Field(
        None, description="The port of every node's sshd; a free one if not given."
    )
    network: str = Field(
        "127.64.0.0/10", description="The part of 127.0.0.0/8 from which the nodes' addresses come."
    )


class SshSpec(Model):
    user: str | None = Field(
        None, description="The user to log in as; by default as ~/.ssh/config says."
    )
    port: Port | None = Field(
        None, description="The port of the nodes' sshd; by default as ~/.ssh/config says."
    )
    key: str | None = Field(
        None, description="A private key file; the SSH agent's keys are tried as well."
    )
    gateway: str | None = Field(
        None, description="Reach the nodes through this host: [user@]host[:port]."
    )
    connect_timeout: Duration = Field(10.0, description="How long one connection attempt may take.")


class ManualNodeSpec(Model):
    """A machine that is there already."""

    name: Name
    address: str = Field(description="The name or address at which this machine reaches the node.")
    private_address: str | None = Field(
        None, description="The address at which other nodes reach it."
    )
    user: str | None = None
    port: Port | None = None
    key: str | None = None
    host_key: str | None = Field(
        None, description="Its SSH host key ('ssh-ed25519 AAAA…'); pinned at launch if not given."
    )
    roles: list[Name] = Field(min_length=1)
    region: str | None = None
    labels: dict[str, Scalar] = Field(default_factory=dict)


class ClusterSpec(Model):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,38}$")] = Field(
        description="Lower-case letters, digits and dashes."
    )
    provider: Literal["local", "manual", "ec2"] = "local"
    roles: dict[Name, RoleSpec] = Field(default_factory=dict, description="Role → how many nodes.")
    nodes: list[ManualNodeSpec] = Field(
        default_factory=list, description="The nodes of a manual cluster."
    )
    local: LocalSpec = Field(default_factory=LocalSpec)
    ec2: Ec2Spec = Field(default_factory=Ec2Spec)
    ssh: SshSpec = Field(default_factory=SshSpec)
    work_folder: str = Field(
        "cloister", description="Where cloister works on a node, below the user's home."
    )


# --- code on the nodes ---------------------------------------------------------------------------


class BuildSpec(Model):
    command: str = Field(
        min_length=1,
        description="Run once per CPU architecture, in the source's copy on a builder node.",
    )
    artifacts: list[str] = Field(
        min_length=1, description="What the build leaves, as glob patterns below the source."
    )
    env: dict[str, str] = Field(default_factory=dict)
    timeout: Duration = 1800.0


class SyncSpec(Model):
    source: str = Field(
        min_length=1, description="A folder on this machine, relative to the configuration file."
    )
    target: str = Field(
        min_length=1, description="Where it goes on the nodes, below the work folder."
    )
    roles: list[Name] | None = Field(
        None, description="Only to nodes of these roles; by default to all."
    )
    exclude: list[str] = Field(
        default_factory=list, description="Patterns as in .gitignore, which is honoured too."
    )
    delete: bool = Field(True, description="Remove from the target what the source no longer has.")
    build: BuildSpec | None = None


# --- experiments ---------------------------------------------------------------------------------


ReadyKind = Literal["port", "log", "file", "http", "command", "ended"]
READY_KINDS: tuple[ReadyKind, ...] = get_args(ReadyKind)


class ReadySpec(Model):
    """When a process counts as started; exactly one condition."""

    port: str | int | None = Field(
        None, description="It listens on this port: a name from `ports`, a number or a template."
    )
    log: Pattern | None = Field(None, description="A line of its output matches.")
    file: str | None = Field(None, description="The file exists (template).")
    http: str | None = Field(
        None, description="A GET of this URL answers with a status below 400 (template)."
    )
    command: str | None = Field(None, description="The command exits with 0 (template).")
    ended: Literal[True] | None = Field(
        None, description="It has ended, with an expected status: for preparations."
    )
    within: Duration = Field(30.0, description="How long it may take.")

    @model_validator(mode="after")
    def _one(self) -> ReadySpec:
        given = [key for key in READY_KINDS if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(READY_KINDS)}; got {given or 'none'}"
            )
        return self


class StopSpec(Model):
    signal: Literal["TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2"] = "TERM"
    grace: Duration = Field(5.0, description="Time between this signal and SIGKILL.")


class ProcessSpec(Model):
    role: Name = Field(description="The role whose nodes it runs on.")
    command: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)] = (
        Field(description="A shell command, or a list of arguments that no shell sees (template).")
    )
    nodes: Count | None = Field(
        None, description="The first so many nodes of the role; by default all."
    )
    per_node: Count = Field(1, description="Instances on each node.")
    instances: Count | None = Field(
        None, description="Instances in all, dealt out over the nodes in turn; instead of per_node."
    )
    folder: str = Field(
        ".", description="Working folder, below the work folder unless absolute (template)."
    )
    env: dict[str, str] = Field(default_factory=dict, description="Environment (templates).")
    env_file: str | None = Field(
        None, description="A shell file, sourced first if it exists (template)."
    )
    stdin: str | None = Field(None, description="Text for standard input (template).")
    ports: list[Name] | dict[Name, Count] = Field(
        default_factory=list,
        description="Ports it needs: names, or name → first number to try on each node.",
    )
    after: list[Name] | None = Field(
        None, description="Start when these are ready; by default after the one listed before."
    )
    ready: ReadySpec | None = None
    stop: StopSpec = Field(default_factory=StopSpec)
    expect: list[int] = Field(
        default_factory=lambda: [0], description="Exit statuses that are not a failure."
    )
    merge_stderr: bool = Field(
        False, description="Standard error goes into the same log as standard output."
    )
    collect: list[str] = Field(
        default_factory=list, description="Files to keep, glob patterns below `folder` (templates)."
    )

    @model_validator(mode="after")
    def _one_count(self) -> ProcessSpec:
        if self.instances is not None and self.per_node != 1:
            raise ValueError("give either per_node or instances, not both")
        return self


class EndSpec(Model):
    """When the trial is over; exactly one condition."""

    process: Name | list[Name] | None = Field(
        None, description="All instances of this process (or these) have ended."
    )
    duration: Duration | None = Field(None, description="This long after everything was ready.")
    all: Literal[True] | None = Field(None, description="Every process has ended.")

    @model_validator(mode="after")
    def _one(self) -> EndSpec:
        given = [key for key in ("process", "duration", "all") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of process, duration, all; got {given or 'none'}"
            )
        return self


Reducer = Literal["last", "first", "mean", "median", "sum", "min", "max", "count"]


class MetricSpec(Model):
    process: Name = Field(description="The process whose output or file holds the numbers.")
    stream: Literal["stdout", "stderr"] = "stdout"
    file: str | None = Field(None, description="A collected file (glob) instead of the output.")
    pattern: PatternWithGroup | None = Field(
        None, description="Regular expression; its first group is the number."
    )
    json_key: str | None = Field(
        None, description="The log has JSON lines; take this (dotted) key."
    )
    unit: str = ""
    within: Reducer = Field("last", description="One number from the several of one instance.")
    across: Reducer = Field("mean", description="One number from those of several instances.")
    better: Literal["higher", "lower"] | None = None

    @model_validator(mode="after")
    def _one(self) -> MetricSpec:
        if (self.pattern is None) == (self.json_key is None):
            raise ValueError("expected exactly one of pattern, json_key")
        return self


class ExperimentSpec(Model):
    name: Name
    description: str = ""
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Values that stay the same in every trial."
    )
    sweep: dict[str, Any] = Field(
        default_factory=dict,
        description="Every list is swept over, in nested tables too; {literal: [...]} is a list that is one value.",
    )
    points: list[dict[str, Any]] = Field(
        default_factory=list, description="Further points, besides the sweep's."
    )
    exclude: list[dict[str, Any]] = Field(
        default_factory=list, description="Points that match one of these are left out."
    )
    repeats: int = Field(1, ge=1, le=10_000)
    seed: int = 0
    order: Literal["random", "listed"] = "random"
    timeout: Duration = Field(
        600.0, gt=0, description="For one trial, from its first process to its end."
    )
    processes: dict[Name, ProcessSpec] = Field(min_length=1)
    end: EndSpec | None = Field(
        None, description="By default when the process listed last has ended."
    )
    metrics: dict[Name, MetricSpec] = Field(default_factory=dict)


# --- results -------------------------------------------------------------------------------------


class FigureSpec(Model):
    name: Name
    experiment: Name
    kind: Literal["line", "bars", "cdf", "throughput-latency"]
    x: str | None = Field(
        None, description="line, bars: a parameter; throughput-latency: a metric."
    )
    y: Name = Field(description="A metric.")
    by: list[str] = Field(
        default_factory=list, description="One series for each combination of these parameters."
    )
    where: dict[str, Any] = Field(
        default_factory=dict, description="Only points with these parameters."
    )
    title: str = ""
    log_x: bool = False
    log_y: bool = False

    @model_validator(mode="after")
    def _x(self) -> FigureSpec:
        if self.x is None and self.kind != "cdf":
            raise ValueError(f"a figure of kind {self.kind} needs x")
        return self


class ResultsSpec(Model):
    folder: str = Field("results", description="Relative to the configuration file.")
    confidence: float = Field(0.95, gt=0, lt=1)
    seed: int = Field(0, description="Of the bootstrap.")
    figures: list[FigureSpec] = Field(default_factory=list)


class ConfigurationSpec(Model):
    """A whole configuration, after all files and includes are merged."""

    cluster: ClusterSpec | None = None
    deploy: list[SyncSpec] = Field(default_factory=list)
    experiments: list[ExperimentSpec] = Field(default_factory=list)
    results: ResultsSpec = Field(default_factory=ResultsSpec)
