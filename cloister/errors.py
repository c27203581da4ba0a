"""Every error that cloister raises on purpose, and the exit status each one ends a command with.

    CloisterError                 1  something that was tried failed
    ├── UsageError                2  the command line or the configuration is wrong; nothing was done
    │   └── ConfigurationError    2  the configuration has problems, each with its place
    ├── PartlyDone                3  some nodes or trials succeeded and some did not
    ├── Busy                      1  another command works on the same cluster
    ├── ProviderError             1  the infrastructure refused or lost something
    └── NodeError                 1  one node could not do what was asked
        ├── Unreachable           1  no SSH connection: address, port, authentication, time-out
        ├── HostKeyChanged        1  the node answers with another host key than the pinned one
        ├── NoPython              1  the node has no Python for the agent to run on
        ├── ConnectionLost        1  the connection or the agent ended while it was needed
        └── Refused               1  the node's operating system said no (disk full, permission, …)

A message says what was tried, on what, and what happened; a hint says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloister.config.problems import Problem


class CloisterError(Exception):
    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CloisterError):
    exit_status = 2


class ConfigurationError(UsageError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class PartlyDone(CloisterError):
    exit_status = 3


class Busy(CloisterError):
    pass


class ProviderError(CloisterError):
    pass


class NodeError(CloisterError):
    """An error of one node; `node` is its name."""

    def __init__(self, node: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{node}: {message}", hint=hint)
        self.node = node


class Unreachable(NodeError):
    pass


class HostKeyChanged(NodeError):
    pass


class NoPython(NodeError):
    pass


class ConnectionLost(NodeError):
    pass


class Refused(NodeError):
    """`number` is the errno of the node's operating system, 0 if it gave none."""

    def __init__(self, node: str, message: str, *, number: int = 0, hint: str = "") -> None:
        super().__init__(node, message, hint=hint)
        self.number = number
