"""The configuration that `cloister init` writes: it runs as it is, on any Linux machine."""

from __future__ import annotations

import importlib.resources


def sample_configuration() -> str:
    """YAML, commented."""
    return importlib.resources.files(__package__).joinpath("sample.yaml").read_text("utf-8")
