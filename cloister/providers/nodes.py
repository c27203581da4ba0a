"""Nodes as JSON data, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

from cloister.plan.observed import Node


def node_to_json(node: Node) -> dict[str, Any]:
    return dataclasses.asdict(node)


def node_from_json(data: Any) -> Node | None:
    """None when the data is not a node."""
    try:
        return Node(**{**data, "roles": tuple(data["roles"])})
    except (KeyError, TypeError):
        return None
