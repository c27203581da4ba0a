"""What the API says no with."""

from __future__ import annotations


class Refusal(Exception):
    """An AWS error: its code, message and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def not_simulated(action: str, *, details: str = "") -> Refusal:
    """Loud, so that no test passes on what nobody has simulated."""
    return Refusal("NotSimulated", f"{action} is not simulated {details}".strip(), 501)


def invalid_value(message: str) -> Refusal:
    return Refusal("InvalidParameterValue", message)


def missing(name: str) -> Refusal:
    return Refusal("MissingParameter", f"The request must contain the parameter {name}")


def dry_run() -> Refusal:
    return Refusal(
        "DryRunOperation", "Request would have succeeded, but DryRun flag is set.", status=412
    )
